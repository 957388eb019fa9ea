// What Microsoft's SDK for JavaScript sees of the emulator: each export is one scenario, a process of its own.
//
// node scenarios.mjs NAME CONNECTION_STRING KIND=ENTITY ...   exit status 0, or the assertion that failed
//
// A scenario that asks for `faults` gets an emulator of its own, and the address at which faults are put.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { ServiceBusClient } from "@azure/service-bus";

const DEAD = { subQueueType: "deadLetter" };

const message = (text, more = {}) => ({ body: Buffer.from(text), ...more });
const text = (received) => received.body.toString();
const soon = (seconds) => new Date(Date.now() + seconds * 1000);

/** One client of the SDK; a body comes as the bytes that were sent, not as what JSON makes of them. */
class Bus {
  constructor(connectionString, retryOptions = { maxRetries: 0, timeoutInMs: 20_000 }) {
    this.connectionString = connectionString;
    this.client = new ServiceBusClient(connectionString, { retryOptions });
  }

  /** Connect once more, with other retry options. */
  with(retryOptions) {
    return new Bus(this.connectionString, retryOptions);
  }

  sender(name) {
    return this.client.createSender(name);
  }

  receiver(name, options = {}) {
    return this.client.createReceiver(...name.split("/"), { skipParsingBodyAsJson: true, ...options });
  }

  /** Hold a session, or (undefined) the next one; the SDK renews its lock only if it is told to. */
  session(name, id, options = {}) {
    const all = { skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: 0, ...options };
    if (id === undefined) return this.client.acceptNextSession(...name.split("/"), all);
    return this.client.acceptSession(...name.split("/"), id, all);
  }
}

/** Receive up to `count` messages, waiting `seconds` for the first. */
async function take(receiver, count = 1, seconds = 5) {
  return receiver.receiveMessages(count, { maxWaitTimeInMs: seconds * 1000 });
}

/** Receive until `count` have come, or none for so long. */
async function texts(receiver, count, seconds = 5) {
  const found = [];
  while (found.length < count) {
    const some = await take(receiver, count - found.length, seconds);
    if (some.length === 0) break;
    found.push(...some.map(text));
  }
  return found;
}

async function fails(promise, code, words = /./) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`);
    assert.match(error.message, words);
    return true;
  });
}

export async function aMessageArrivesWithEverythingThatWasSent(bus, { plain }) {
  const properties = { text: "é", number: 7, real: 1.5, yes: true };
  const before = Date.now();
  await bus.sender(plain).sendMessages({
    body: Buffer.from([0, 255, 32, 98]),
    messageId: "m1",
    correlationId: "c1",
    sessionId: "s1",
    replyTo: "r1",
    replyToSessionId: "rs1",
    to: "t1",
    subject: "subject",
    contentType: "application/json",
    timeToLive: 600_000,
    applicationProperties: properties,
  });
  const receiver = bus.receiver(plain);
  const [got] = await take(receiver);
  assert.deepEqual([...got.body], [0, 255, 32, 98]);
  assert.deepEqual([got.messageId, got.correlationId, got.sessionId], ["m1", "c1", "s1"]);
  assert.deepEqual([got.replyTo, got.replyToSessionId, got.to], ["r1", "rs1", "t1"]);
  assert.deepEqual([got.subject, got.contentType], ["subject", "application/json"]);
  assert.equal(got.timeToLive, 600_000);
  assert.deepEqual(got.applicationProperties, properties);
  assert.deepEqual([got.deliveryCount, got.sequenceNumber.toNumber(), got.enqueuedSequenceNumber], [0, 1, 0]);
  assert.ok(Math.abs(got.enqueuedTimeUtc - before) < 5_000);
  assert.equal(got.expiresAtUtc - got.enqueuedTimeUtc, 600_000);
  const locked = got.lockedUntilUtc - Date.now();
  assert.ok(50_000 < locked && locked < 61_000, `locked for ${locked} ms`);
  assert.match(got.lockToken, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.equal(got.state, "active");
  await receiver.completeMessage(got);
  assert.deepEqual(await receiver.peekMessages(10), []);
}

export async function aMessageThatIsSentWithoutAnIdGetsOne(bus, { plain }) {
  const sender = bus.sender(plain);
  await sender.sendMessages(message("1", { contentType: "text/plain", correlationId: "c", replyTo: "r" }));
  await sender.sendMessages([message("2")]);
  await sender.sendMessages(message("3", { messageId: "own" }));
  const receiver = bus.receiver(plain);
  const ids = [];
  for (const content of ["1", "2", "3"]) {
    const [got] = await take(receiver);
    assert.equal(text(got), content);
    if (content === "1") assert.deepEqual([got.contentType, got.correlationId, got.replyTo], ["text/plain", "c", "r"]);
    ids.push(got.messageId);
    await receiver.completeMessage(got); // the SDK settles no message without an id
  }
  assert.match(ids[0], /^[0-9a-f]{32}$/);
  assert.match(ids[1], /^[0-9a-f]{32}$/);
  assert.notEqual(ids[0], ids[1]);
  assert.equal(ids[2], "own");
}

export async function bodiesOfEveryTypeArriveAsTheyWereSent(bus, { plain }) {
  const sent = [
    { bodyType: "value", body: { a: [1, null] } },
    { bodyType: "sequence", body: [[1, 2, "x"]] },
    { bodyType: "data", body: Buffer.from("one") },
  ];
  for (const one of sent) await bus.sender(plain).sendMessages(one);
  const receiver = bus.receiver(plain);
  for (const { bodyType, body } of sent) {
    const [got] = await take(receiver);
    assert.equal(got._rawAmqpMessage.bodyType, bodyType);
    assert.deepEqual(got.body, body);
  }
}

export async function abandonedMessagesComeAgainWithChangedProperties(bus, { plain }) {
  await bus.sender(plain).sendMessages(message("x", { applicationProperties: { kept: "k", changed: 1 } }));
  const receiver = bus.receiver(plain);
  const [got] = await take(receiver);
  await receiver.abandonMessage(got, { changed: 2, added: "a" });
  const [again] = await take(receiver);
  assert.deepEqual([again.deliveryCount, again.sequenceNumber.toNumber(), text(again)], [1, 1, "x"]);
  assert.deepEqual(again.applicationProperties, { kept: "k", changed: 2, added: "a" });
  assert.notEqual(again.lockToken, got.lockToken);
}

export async function abandonedMessagesEndInTheDeadLetterQueue(bus, { short }) {
  await bus.sender(short).sendMessages(message("poison"));
  const receiver = bus.receiver(short);
  for (const count of [0, 1]) {
    const [got] = await take(receiver);
    assert.equal(got.deliveryCount, count);
    await receiver.abandonMessage(got);
  }
  const dead = bus.receiver(short, DEAD);
  const [letter] = await take(dead);
  assert.equal(letter.deadLetterReason, "MaxDeliveryCountExceeded");
  assert.equal(letter.deadLetterErrorDescription, "Message could not be consumed after 2 delivery attempts.");
  assert.equal(text(letter), "poison");
  await dead.completeMessage(letter);
  assert.deepEqual(await receiver.peekMessages(1), []);
  assert.deepEqual(await dead.peekMessages(1), []);
}

export async function deadLettersCarryTheReasonAndKeepWhatWasSent(bus, { topic }) {
  await bus.sender(topic).sendMessages(message("bad", { applicationProperties: { n: 1 } }));
  const receiver = bus.receiver(`${topic}/all`);
  const [got] = await take(receiver);
  await receiver.deadLetterMessage(got, {
    deadLetterReason: "no use",
    deadLetterErrorDescription: "at all",
    added: "a",
  });
  const [letter] = await take(bus.receiver(`${topic}/all`, DEAD));
  assert.deepEqual([letter.deadLetterReason, letter.deadLetterErrorDescription], ["no use", "at all"]);
  assert.equal(letter.applicationProperties.n, 1);
  assert.equal(letter.applicationProperties.added, "a");
  assert.ok(letter.sequenceNumber.equals(got.sequenceNumber));
  assert.equal(letter.deadLetterSource, undefined);
  assert.equal(text(letter), "bad");
}

export async function aLockThatEndsIsLostAndTheMessageComesAgain(bus, { short }) {
  await bus.sender(short).sendMessages(message("x"));
  const receiver = bus.receiver(short, { maxAutoLockRenewalDurationInMs: 0 });
  const other = bus.receiver(short, { maxAutoLockRenewalDurationInMs: 0 });
  const [got] = await take(receiver);
  const [again] = await take(other);
  assert.equal(again.deliveryCount, 1);
  await fails(receiver.renewMessageLock(got), "MessageLockLost");
  await fails(receiver.completeMessage(got), "MessageLockLost");
  await other.completeMessage(again);
  assert.deepEqual(await receiver.peekMessages(1), []);
}

export async function aRenewedLockLastsLonger(bus, { lasting }) {
  await bus.sender(lasting).sendMessages(message("x"));
  const receiver = bus.receiver(lasting, { maxAutoLockRenewalDurationInMs: 0 });
  const [got] = await take(receiver);
  const first = got.lockedUntilUtc.getTime();
  await sleep(first - 1_500 - Date.now());
  assert.ok((await receiver.renewMessageLock(got)).getTime() > first + 1_000);
  await sleep(first + 50 - Date.now());
  await receiver.completeMessage(got);
  assert.deepEqual(await receiver.peekMessages(1), []);
}

export async function theSdkRenewsLocksByItself(bus, { short }) {
  await bus.sender(short).sendMessages(message("x"));
  const receiver = bus.receiver(short, { maxAutoLockRenewalDurationInMs: 60_000 });
  const [got] = await take(receiver);
  await sleep(got.lockedUntilUtc.getTime() + 1_500 - Date.now());
  await receiver.completeMessage(got);
  assert.deepEqual(await receiver.peekMessages(1), []);
}

export async function receiveAndDeleteLeavesNothing(bus, { plain }) {
  await bus.sender(plain).sendMessages([message("1"), message("2")]);
  const receiver = bus.receiver(plain, { receiveMode: "receiveAndDelete" });
  assert.deepEqual(await texts(receiver, 2), ["1", "2"]);
  assert.deepEqual(await receiver.peekMessages(10), []);
}

export async function aDeferredMessageIsReceivedByItsNumberOnly(bus, { plain }) {
  const sender = bus.sender(plain);
  await sender.sendMessages([message("later", { applicationProperties: { n: 1 } }), message("dead"), message("new")]);
  const receiver = bus.receiver(plain);
  const [got] = await take(receiver);
  const [second] = await take(receiver);
  await receiver.deferMessage(got, { n: 2 });
  await receiver.deferMessage(second);
  assert.deepEqual(await texts(receiver, 1), ["new"]);
  assert.deepEqual(await take(receiver, 1, 0.5), []);
  const [seen] = await receiver.peekMessages(1, { fromSequenceNumber: got.sequenceNumber });
  assert.equal(seen.state, "deferred");

  const [back, other] = await receiver.receiveDeferredMessages([got.sequenceNumber, second.sequenceNumber]);
  assert.deepEqual([text(back), back.applicationProperties.n, text(other)], ["later", 2, "dead"]);
  assert.deepEqual([back.state, back.deliveryCount], ["deferred", 1]);
  await receiver.abandonMessage(back, { n: 3 });
  const [third] = await receiver.receiveDeferredMessages(got.sequenceNumber);
  assert.deepEqual([third.deliveryCount, third.applicationProperties.n], [2, 3]);
  await receiver.completeMessage(third);
  await fails(receiver.receiveDeferredMessages(got.sequenceNumber), "MessageNotFound");
  await receiver.deadLetterMessage(other, { deadLetterReason: "r", deadLetterErrorDescription: "d" });
  const [letter] = await take(bus.receiver(plain, DEAD));
  assert.deepEqual([text(letter), letter.deadLetterReason, letter.deadLetterErrorDescription], ["dead", "r", "d"]);
}

export async function aDeferredMessageIsReceivedAndDeleted(bus, { plain }) {
  await bus.sender(plain).sendMessages(message("later"));
  const locking = bus.receiver(plain);
  const [got] = await take(locking);
  await locking.deferMessage(got);
  const deleting = bus.receiver(plain, { receiveMode: "receiveAndDelete" });
  const [back] = await deleting.receiveDeferredMessages(got.sequenceNumber);
  assert.equal(text(back), "later");
  assert.deepEqual(await locking.peekMessages(1), []);
}

export async function aMessageScheduledByRequestWaitsUntilItIsDue(bus, { plain }) {
  const when = soon(2);
  const numbers = await bus.sender(plain).scheduleMessages([message("tick")], when);
  assert.deepEqual(numbers.map(Number), [1]);
  await isDue(bus.receiver(plain), when);
}

export async function aMessageScheduledByAnnotationWaitsUntilItIsDue(bus, { plain }) {
  const when = soon(2);
  await bus.sender(plain).sendMessages(message("tick", { scheduledEnqueueTimeUtc: when }));
  await isDue(bus.receiver(plain), when);
}

async function isDue(receiver, when) {
  const [seen] = await receiver.peekMessages(1);
  assert.deepEqual([seen.state, Number(seen.scheduledEnqueueTimeUtc)], ["scheduled", when.getTime()]);
  const [got] = await take(receiver, 1, 6);
  assert.ok(Date.now() >= when.getTime() - 5, "it came too early");
  assert.deepEqual([text(got), got.sequenceNumber.toNumber(), got.state], ["tick", 2, "active"]);
}

export async function aCanceledMessageNeverComes(bus, { plain }) {
  const sender = bus.sender(plain);
  const [canceled] = await sender.scheduleMessages([message("canceled"), message("kept")], soon(1));
  await sender.cancelScheduledMessages(canceled);
  await fails(sender.cancelScheduledMessages(canceled), "MessageNotFound");
  assert.deepEqual(await texts(bus.receiver(plain), 2, 3), ["kept"]);
}

export async function peekingShowsMessagesInOrderAndChangesNothing(bus, { plain }) {
  await bus.sender(plain).sendMessages([message("1"), message("2"), message("3")]);
  const receiver = bus.receiver(plain);
  assert.deepEqual((await receiver.peekMessages(2)).map(text), ["1", "2"]);
  const [last] = await receiver.peekMessages(2);
  assert.deepEqual([text(last), last.lockToken, last.deliveryCount], ["3", undefined, 0]);
  assert.deepEqual(await receiver.peekMessages(2), []);
  const [got] = await take(receiver);
  assert.deepEqual([text(got), got.deliveryCount], ["1", 0]);
  const again = await receiver.peekMessages(10, { fromSequenceNumber: got.sequenceNumber });
  assert.deepEqual(again.map(text), ["1", "2", "3"]);
}

export async function aMessageIdSeenBeforeIsDroppedWithoutAWord(bus, { once }) {
  const sender = bus.sender(once);
  await sender.sendMessages(message("first", { messageId: "a" }));
  await sender.sendMessages(message("second", { messageId: "a" }));
  await sender.sendMessages([message("x", { messageId: "a" }), message("b", { messageId: "b" })]);
  await sender.scheduleMessages(message("late", { messageId: "b" }), soon(0));
  assert.deepEqual(await texts(bus.receiver(once), 5, 1), ["first", "b"]);
}

export async function aSubscriptionTakesWhatItsRulesMatchOnce(bus, { topic }) {
  await bus.sender(topic).sendMessages([
    message("both", { subject: "news", applicationProperties: { colour: "red" } }),
    message("news", { subject: "news" }),
    message("Red", { applicationProperties: { colour: "Red" } }),
  ]);
  const found = await Promise.all(
    ["all", "red", "either"].map((name) => texts(bus.receiver(`${topic}/${name}`), 5, 1)),
  );
  assert.deepEqual(found, [["both", "news", "Red"], ["both"], ["both", "news"]]);
}

export async function aSubscriptionTakesWhatItsSqlSaysAndChangesIt(bus, { topic }) {
  await bus.sender(topic).sendMessages([
    message("big", { subject: "both", applicationProperties: { size: 11 } }),
    message("small", { subject: "both", applicationProperties: { size: 10 } }),
    message("other", { subject: "a b", applicationProperties: { size: 11 } }),
  ]);
  const receiver = bus.receiver(`${topic}/doubled`);
  const [got] = await take(receiver);
  assert.deepEqual([text(got), got.applicationProperties], ["big", { size: 22, RuleName: "big" }]);
  assert.deepEqual(await take(receiver, 1, 0.5), []);
}

export async function rulesAreCreatedListedAndDeleted(bus, { topic }) {
  const sender = bus.sender(topic);
  const rules = bus.client.createRuleManager(topic, "all");
  const first = { name: "$Default", filter: { sqlExpression: "1=1" }, action: {} };
  assert.deepEqual(await rules.getRules(), [first]);
  await rules.deleteRule("$default");
  assert.deepEqual(await rules.getRules(), []);
  await sender.sendMessages(message("for nobody", { subject: "news" }));

  const wanted = {
    correlationId: "c",
    messageId: "m",
    to: "t",
    replyTo: "r",
    subject: "news",
    sessionId: "s",
    replyToSessionId: "rs",
    contentType: "text/plain",
    applicationProperties: { text: "é", number: 2, real: 1.5, yes: true, at: new Date(946_684_800_000) },
  };
  await rules.createRule("sql", { sqlExpression: "size > 10" }, { sqlExpression: "SET size = 1" });
  await rules.createRule("every property", wanted);
  await rules.createRule("nothing", { sqlExpression: "1=0" });
  await rules.createRule("one property", { applicationProperties: { size: 7 } }, { sqlExpression: "REMOVE size" });
  await sender.sendMessages([
    message("1", { applicationProperties: { size: 11 } }),
    message("2", { ...wanted }),
    message("3", { ...wanted, to: "T" }),
    message("4", { applicationProperties: { size: 7 } }),
    message("5", { applicationProperties: { size: "7" } }),
  ]);
  const found = [];
  const receiver = bus.receiver(`${topic}/all`);
  for (let each = 0; each < 3; each += 1) found.push((await take(receiver))[0]);
  assert.deepEqual(found.map(text), ["1", "2", "4"]);
  assert.deepEqual(found[0].applicationProperties, { size: 1, RuleName: "sql" });
  assert.deepEqual(found[1].applicationProperties, { ...wanted.applicationProperties, at: 946_684_800_000 });
  assert.deepEqual(found[2].applicationProperties, { RuleName: "one property" });
  assert.deepEqual(await take(receiver, 1, 0.5), []);

  const pages = [];
  for await (const page of rules.listRules().byPage({ maxPageSize: 3 })) pages.push(page);
  const empty = Object.fromEntries(Object.keys(wanted).map((name) => [name, null]));
  assert.deepEqual(pages, [
    [
      { name: "every property", filter: wanted, action: {} },
      { name: "nothing", filter: { sqlExpression: "1=0" }, action: {} },
      {
        name: "one property",
        filter: { ...empty, applicationProperties: { size: 7 } },
        action: { sqlExpression: "REMOVE size" },
      },
    ],
    [{ name: "sql", filter: { sqlExpression: "size > 10" }, action: { sqlExpression: "SET size = 1" } }],
  ]);
}

export async function aRuleThatCannotBeIsRefused(bus, { topic }) {
  const rules = bus.client.createRuleManager(topic, "red");
  const filter = { sqlExpression: "1=1" };
  await fails(rules.createRule("RED", filter), "MessagingEntityAlreadyExists", /red' already exists/i);
  await fails(rules.deleteRule("blue"), "MessagingEntityNotFound", /blue' could not be found/);
  await fails(rules.createRule("sql", { sqlExpression: "size >" }), "GeneralError", /^ArgumentError: column 7: /);
  await fails(rules.createRule("act", filter, { sqlExpression: "PUT a" }), "GeneralError", /^ArgumentError: column 1: /);
  const forwarding = bus.client.createRuleManager(topic, "onward");
  await fails(forwarding.getRules(), "GeneralError", /^InvalidOperationError: /);
  await forwarding.createRule("any", filter);
  await forwarding.deleteRule("any");
  assert.deepEqual((await rules.getRules()).map((rule) => rule.name), ["red"]);
}

export async function aSubscriptionForwardsToAQueueThatDropsDuplicates(bus, { topic }) {
  const sender = bus.sender(topic);
  for (const content of ["first", "second"]) {
    await sender.sendMessages(message(content, { messageId: "same", applicationProperties: { forward: true, n: 3 } }));
  }
  const receiver = bus.receiver(topic.replace("topic", "target"));
  const [got] = await take(receiver);
  assert.deepEqual([text(got), got.messageId, got.enqueuedSequenceNumber], ["first", "same", 1]);
  assert.deepEqual(got.applicationProperties, { forward: true, n: 3 });
  assert.deepEqual(await take(receiver, 1, 0.5), []);
}

export async function deadLettersAreForwardedWithTheirSource(bus, { topic }) {
  await bus.sender(topic).sendMessages(message("x"));
  const receiver = bus.receiver(`${topic}/buried`);
  const [got] = await take(receiver);
  await receiver.deadLetterMessage(got, { deadLetterReason: "why" });
  const [letter] = await take(bus.receiver(topic.replace("topic", "graves")));
  assert.deepEqual([letter.deadLetterSource, letter.deadLetterReason], [`${topic}/Subscriptions/buried`, "why"]);
}

export async function anExpiredMessageIsDeadLetteredWhereThatIsAskedFor(bus, { mortal, plain }) {
  await bus.sender(mortal).sendMessages(message("x", { timeToLive: 3_600_000 }));
  await bus.sender(plain).sendMessages([message("x", { timeToLive: 1_000 }), message("y")]);
  const receiver = bus.receiver(plain);
  const [first] = await receiver.peekMessages(1);
  assert.equal(first.timeToLive, 1_000);
  const [letter] = await take(bus.receiver(mortal, DEAD));
  assert.equal(letter.deadLetterReason, "TTLExpiredException");
  assert.equal(letter.deadLetterErrorDescription, "The message expired and was dead lettered.");
  await sleep(first.expiresAtUtc.getTime() + 50 - Date.now());
  assert.deepEqual(await texts(receiver, 2, 1), ["y"]);
  assert.deepEqual(await bus.receiver(plain, DEAD).peekMessages(1), []);
}

export async function aMessageHasAtMost256Kilobytes(bus, { plain }) {
  const sender = bus.sender(plain);
  await sender.sendMessages(message("x".repeat(262_000)));
  await fails(sender.sendMessages(message("x".repeat(262_144))), "MessageSizeExceeded");
  const other = bus.sender(plain); // the first one's link is closed, as in Azure
  const batch = await other.createMessageBatch();
  assert.equal(batch.maxSizeInBytes, 262_144);
  assert.equal(batch.tryAddMessage(message("x".repeat(262_144))), false);
  await other.sendMessages(message("after"));
  const receiver = bus.receiver(plain);
  const [got] = await take(receiver);
  assert.equal(got.body.length, 262_000);
  assert.deepEqual(await texts(receiver, 2, 0.5), ["after"]);
}

export async function aBatchIsTakenWholeOrNotAtAll(bus, { plain }) {
  const sender = bus.sender(plain);
  const numbers = Array.from({ length: 300 }, (_, number) => String(number));
  const batch = await sender.createMessageBatch();
  for (const number of numbers) assert.ok(batch.tryAddMessage(message(number)));
  await sender.sendMessages(batch);
  const bad = { bodyType: "data", body: Buffer.from("2"), properties: { messageId: "x".repeat(129) } };
  await assert.rejects(sender.sendMessages([message("1"), bad]), { name: "ServiceBusError" });
  assert.deepEqual(await texts(bus.receiver(plain), 301, 1), numbers);
}

export async function namesMakeNoDifferenceBetweenCases(bus, { plain }) {
  await bus.sender(plain.toUpperCase()).sendMessages(message("x"));
  assert.deepEqual(await texts(bus.receiver(plain.replace("p", "P")), 1), ["x"]);
}

export async function anUnknownAddressIsRefused(bus, { plain, topic }) {
  await fails(bus.sender("nowhere").sendMessages(message("x")), "MessagingEntityNotFound");
  await fails(take(bus.receiver("nowhere")), "MessagingEntityNotFound");
  await fails(take(bus.receiver(`${topic}/nobody`)), "MessagingEntityNotFound");
  await fails(bus.receiver("nowhere").peekMessages(1), "MessagingEntityNotFound");
  await bus.sender(plain).sendMessages(message("x"));
  assert.deepEqual(await texts(bus.receiver(plain), 1), ["x"]);
}

export async function whatAzureDoesNotAllowIsRefused(bus, { plain, topic }) {
  await fails(take(bus.receiver(`${topic}/onward`)), "GeneralError", /^InvalidOperationError: /);
  // The SDK reads the attach, which names no session, before the detach that says amqp:not-allowed.
  await fails(bus.session(plain, "s"), "SessionCannotBeLocked");
}

export async function competingReceiversShareTheMessages(bus, { plain }) {
  const numbers = Array.from({ length: 40 }, (_, number) => String(number));
  await bus.sender(plain).sendMessages(numbers.map((number) => message(number)));
  const found = [];
  await new Promise((resolve, reject) => {
    for (let each = 0; each < 4; each += 1) {
      bus.receiver(plain).subscribe(
        {
          processMessage: async (got) => {
            found.push(text(got));
          },
          processError: async ({ error }) => reject(error),
        },
        { maxConcurrentCalls: 3 },
      );
    }
    const waiting = setInterval(() => {
      if (found.length < numbers.length) return;
      clearInterval(waiting);
      resolve();
    }, 20);
  });
  assert.deepEqual(found.sort((one, other) => one - other), numbers);
}

export async function aSessionIsReceivedInOrderByTheOneWhoHoldsIt(bus, { talk }) {
  const sender = bus.sender(talk);
  await sender.sendMessages([
    message("a1", { sessionId: "a" }),
    message("b1", { sessionId: "b" }),
    message("a2", { sessionId: "a" }),
  ]);
  const held = await bus.session(talk, "a");
  assert.equal(held.sessionId, "a");
  await fails(bus.session(talk, "a"), "SessionCannotBeLocked");
  const next = await bus.session(talk);
  assert.equal(next.sessionId, "b");
  assert.deepEqual((await take(held, 2, 1)).map(text), ["a1", "a2"]);
  const [got] = await take(next);
  await next.completeMessage(got);
  assert.deepEqual(await next.peekMessages(1), []);
  await held.setSessionState({ step: 1 });
  assert.deepEqual(await held.getSessionState(), { step: 1 });
  assert.ok((await held.renewSessionLock()) > new Date());
  await fails(take(bus.receiver(talk)), "GeneralError", /^InvalidOperationError: /);
}

export async function aSessionWhoseLockEndsIsLostAndItsMessageComesAgain(bus, { brief }) {
  await bus.sender(brief).sendMessages(message("x", { sessionId: "s" }));
  const held = await bus.session(brief, "s");
  const [got] = await take(held);
  const next = await bus.session(brief);
  const [again] = await take(next);
  assert.deepEqual([text(again), again.sessionId, again.deliveryCount], ["x", "s", 1]);
  await fails(held.completeMessage(got), "SessionLockLost");
  await next.completeMessage(again);
}

export async function theSdkRenewsTheLockOfASessionByItself(bus, { brief }) {
  await bus.sender(brief).sendMessages(message("x", { sessionId: "s" }));
  const held = await bus.session(brief, "s", { maxAutoLockRenewalDurationInMs: 60_000 });
  const [got] = await take(held);
  await sleep(held.sessionLockedUntilUtc.getTime() + 1_500 - Date.now());
  await held.completeMessage(got);
  assert.deepEqual(await held.peekMessages(1), []);
}

export async function aClosedReceiverGivesItsSessionBackAndNothingCounts(bus, { talk }) {
  await bus.sender(talk).sendMessages([message("1", { sessionId: "s" }), message("2", { sessionId: "s" })]);
  const held = await bus.session(talk, "s");
  assert.deepEqual((await take(held)).map(text), ["1"]);
  await held.close();
  const again = await take(await bus.session(talk, "s"), 2);
  assert.deepEqual(
    again.map((one) => [text(one), one.deliveryCount]),
    [
      ["1", 0],
      ["2", 0],
    ],
  );
}

export async function messagesOfASessionAreDeferredAndPeekedInIt(bus, { talk }) {
  await bus.sender(talk).sendMessages([
    message("a1", { sessionId: "a" }),
    message("b1", { sessionId: "b" }),
    message("a2", { sessionId: "a" }),
  ]);
  const held = await bus.session(talk, "a");
  const other = await bus.session(talk, "b");
  const [got] = await take(held);
  await held.deferMessage(got);
  const all = { fromSequenceNumber: got.sequenceNumber }; // else the SDK goes on after what it has peeked
  assert.deepEqual(
    (await held.peekMessages(10, all)).map((one) => [text(one), one.state]),
    [
      ["a1", "deferred"],
      ["a2", "active"],
    ],
  );
  assert.deepEqual((await other.peekMessages(10, all)).map(text), ["b1"]);
  await fails(other.receiveDeferredMessages(got.sequenceNumber), "MessageNotFound");
  const [back] = await held.receiveDeferredMessages(got.sequenceNumber);
  assert.equal(text(back), "a1");
  await held.completeMessage(back);
  assert.deepEqual((await held.peekMessages(10, all)).map(text), ["a2"]);
}

export async function aSubscriptionHasSessionsAndBuriesWhatHasNone(bus, { topic }) {
  await bus.sender(topic).sendMessages([
    message("1", { subject: "talk", sessionId: "s" }),
    message("2", { subject: "talk" }),
  ]);
  const held = await bus.session(`${topic}/talks`);
  assert.deepEqual([held.sessionId, (await take(held, 2, 1)).map(text)], ["s", ["1"]]);
  const [letter] = await take(bus.receiver(`${topic}/talks`, DEAD));
  assert.deepEqual([text(letter), letter.deadLetterReason], ["2", "Session ID is null."]);
}

const PATIENT = { maxRetries: 4, retryDelayInMs: 100, timeoutInMs: 3_000 };
const HASTY = { maxRetries: 0, timeoutInMs: 2_000 };

/** Put a fault in force while something is done; return how often it has hit. */
async function during(faults, fault, action) {
  const put = await fetch(faults, { method: "PUT", body: JSON.stringify([fault]) });
  assert.equal(put.status, 200, await put.text());
  try {
    await action();
    const [{ hits }] = await (await fetch(faults)).json();
    return hits;
  } finally {
    await fetch(faults, { method: "DELETE" });
  }
}

export async function whatIsThrottledSucceedsInTheEndWhereTheSdkTriesAgain(bus, { plain, faults }) {
  const throttle = (on, times) => ({ fault: "throttle", address: plain, on: [on], times });
  const patient = bus.with(PATIENT);
  const send = (by) => by.sender(plain).sendMessages(message("x"));
  assert.equal(await during(faults, throttle("send", 2), () => send(patient)), 2);
  assert.equal(await during(faults, throttle("send", 1), () => fails(send(bus), "ServiceBusy", /50009/)), 1);
  assert.equal(await during(faults, throttle("open", 1), () => send(patient)), 1);
  const peek = async (by) => assert.deepEqual((await by.receiver(plain).peekMessages(5)).map(text), ["x", "x"]);
  assert.equal(await during(faults, throttle("request", 2), () => peek(patient)), 2);
  assert.equal(await during(faults, throttle("request", 1), () => fails(peek(bus), "ServiceBusy")), 1);
  await during(faults, throttle("receive", 1), () => fails(take(bus.receiver(plain)), "ServiceBusy"));
  await during(faults, throttle("receive", 1), async () => {
    assert.deepEqual(await texts(patient.receiver(plain), 2), ["x", "x"]);
  });
}

export async function aRefusedSendHasTheCodeOfItsCondition(bus, { plain, faults }) {
  for (const [condition, code] of [
    ["amqp:resource-limit-exceeded", "QuotaExceeded"],
    ["amqp:unauthorized-access", "UnauthorizedAccess"],
    ["com.microsoft:entity-disabled", "MessagingEntityDisabled"],
  ]) {
    const refuse = { fault: "refuse", address: plain, on: ["send"], condition };
    await during(faults, refuse, () => fails(bus.sender(plain).sendMessages(message("x")), code));
  }
  assert.deepEqual(await bus.receiver(plain).peekMessages(1), []);
}

export async function aStalledSendTimesOutAndIsCarriedOutLater(bus, { once, plain, faults }) {
  const late = message("late", { messageId: "1" });
  await during(faults, { fault: "stall", address: once, on: ["send"] }, async () => {
    await fails(bus.with(HASTY).sender(once).sendMessages(late), "ServiceTimeout");
    assert.deepEqual(await bus.receiver(once).peekMessages(1), []);
    await bus.sender(plain).sendMessages(message("x"));
  });
  await bus.sender(once).sendMessages(late);
  assert.deepEqual((await bus.receiver(once).peekMessages(5)).map(text), ["late"]);
}

export async function aSendWhoseAnswerIsLostIsThereOnce(bus, { once, faults }) {
  const drop = (times) => ({ fault: "drop", address: once, on: ["send"], times });
  const send = (by, id) => by.sender(once).sendMessages(message(id, { messageId: id }));
  // The SDK does not tell a send that its connection is gone: it waits for as long as it was told to.
  assert.equal(await during(faults, drop(1), () => fails(send(bus.with(HASTY), "1"), "ServiceTimeout")), 1);
  assert.equal(await during(faults, drop(2), () => send(bus.with(PATIENT), "2")), 2);
  assert.deepEqual((await bus.receiver(once).peekMessages(5)).map(text), ["1", "2"]);
}

export async function aReceiverThatIsCutOffGetsEverythingInTheEnd(bus, { lasting, faults }) {
  const numbers = ["0", "1", "2", "3", "4", "5"];
  await bus.sender(lasting).sendMessages(numbers.map((number) => message(number)));
  const found = new Set();
  const drop = { fault: "drop", address: lasting, on: ["receive"], after: 2, times: 2 };
  const hits = await during(faults, drop, async () => {
    const receiver = bus.with(PATIENT).receiver(lasting);
    while (found.size < numbers.length) {
      for (const got of await take(receiver, 1).catch(() => [])) {
        await receiver.completeMessage(got).then(() => found.add(text(got)), () => undefined);
      }
    }
  });
  assert.equal(hits, 2);
  assert.deepEqual([...found].sort(), numbers);
  assert.deepEqual(await bus.receiver(lasting).peekMessages(1), []);
}

async function run(name, connectionString, ...entities) {
  const scenario = (await import(import.meta.url))[name];
  assert.equal(typeof scenario, "function", `there is no scenario ${name}`);
  await scenario(new Bus(connectionString), Object.fromEntries(entities.map((one) => one.split("="))));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  run(...process.argv.slice(2)).then(
    () => process.exit(0), // without closing the client: the emulator has to bear that
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
