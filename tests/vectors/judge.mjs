// The vendors' libraries for Node, asked from Python (judges.py): node judge.mjs <scheme> < questions > answers
//
// Questions are a JSON list of {method, url, headers, body, secret, keys, now}: header names in lower case, body
// and keys in base64, now in seconds. Answers are a list of true and false. A check refuses by throwing, or by
// returning false; each is asked at the question's own time.

import { text } from 'node:stream/consumers'

const CHECKS = {
  async clerk({ url, method, headers, body, secret }) {
    const { verifyWebhook } = await import('@clerk/backend/webhooks')
    await verifyWebhook(new Request(url, { method, headers, body }), { signingSecret: secret })
  },
  async github({ headers, body, secret }) {
    const { verify } = await import('@octokit/webhooks-methods')
    return verify(secret, body.toString(), headers['x-hub-signature-256'])
  },
  async mux({ headers, body, secret }) {
    const { default: Mux } = await import('@mux/mux-node')
    const client = new Mux({ tokenId: 'none', tokenSecret: 'none' })
    await client.webhooks.verifySignature(body.toString(), headers, secret)
  },
}

const { now: clock } = Date
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [Date.now()]))
  }
}

async function answer(check, question) {
  globalThis.Date.now = () => question.now * 1000
  try {
    const read = (one) => Buffer.from(one, 'base64')
    const accepted = await check({ ...question, body: read(question.body), keys: question.keys.map(read) })
    return accepted !== false
  } catch {
    return false
  } finally {
    globalThis.Date.now = clock
  }
}

const check = CHECKS[process.argv[2]]
const answers = []
for (const question of JSON.parse(await text(process.stdin))) answers.push(await answer(check, question))
process.stdout.write(JSON.stringify(answers))
