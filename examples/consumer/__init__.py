"""A downstream service: reads job outcomes from Service Bus and puts each into a database exactly once.

Service Bus delivers at least once. A consumer that dies between doing its work and completing the message
gets the message again, so "exactly once" is made here, at the database, and nowhere else:

1. In one transaction, insert a row whose key is the job, and do the work only if the row is new. A second
   delivery finds the row and changes nothing (`database.py`).
2. Complete the message only after the commit. The other way round, a crash in between would lose the outcome
   for ever (`__main__.py`).
3. What no retry can help (not an event, a payload that is not there) goes to the dead-letter queue with a
   reason, and the next message is taken. What may pass (the database is locked, storage is away) is waited
   for with the message in hand, so that an outage does not use up the message's deliveries.
4. Notices, such as `job.late_result`, change nothing that was decided: they are logged.

It knows docs/messages.md and nothing else of the app: copy the folder and begin from there.
"""
