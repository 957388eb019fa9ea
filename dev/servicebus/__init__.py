"""Azure Service Bus on this machine: an AMQP 1.0 emulator that a real Service Bus SDK cannot tell from Azure.

It knows nothing of the project around it. Start it with `python -m dev.servicebus`, or from Python with
`dev.servicebus.process.start`. The README says what it does, and what it does not.
"""
