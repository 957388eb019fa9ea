"""The fake third party: the vendors' documented wire formats on top of one engine for jobs and callbacks."""
