"""The ARGO Messaging Service's HTTP API, version 1: publishing, projects and topics."""
