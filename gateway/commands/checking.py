"""`headrace config check`: every option with its value, where that came from, and what it means."""

import json

from gateway.config import Config, explain


def show(config: Config, *, as_json: bool) -> None:
    """Print the options of a configuration that holds. Of a secret only whether it is set."""
    rows = explain(config)
    if as_json:
        for key, value, source, meaning in rows:
            print(json.dumps({"option": key, "value": value, "source": source, "meaning": meaning}))
        return
    width = max(len(f"{key} = {value}") for key, value, _, _ in rows if len(value) < 40)
    for key, value, source, meaning in rows:
        origin = "" if source == "default" else f"  [{source}]"
        print(f"{f'{key} = {value}':<{width}}  {meaning}{origin}")
