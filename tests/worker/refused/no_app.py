"""No function app at all."""
