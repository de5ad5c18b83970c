"""The management API `@connections`: signatures, policies, throttles, routes."""
