"""The vocabulary of tasks: models, serializer, registry."""
