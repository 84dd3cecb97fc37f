"""The same work in other tools. Each job runs in an environment of its own, `.venv-peers`, with the standard library and its tool alone."""
