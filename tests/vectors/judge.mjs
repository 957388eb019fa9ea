// The vendors' libraries for Node, asked from Python (judges.py): node judge.mjs <scheme> < questions > answers
//
// Questions are a JSON list of {method, url, headers, body, secret, keys, now}: header names in lower case, body
// and keys in base64, now in seconds. Answers are a list of true and false. A check refuses by throwing, or by
// returning false; each is asked at the question's own time.

import { createSecretKey } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'

const require = createRequire(import.meta.url)

const hubspot = (signatureVersion, name) => async ({ method, url, headers, body, secret }) => {
  const { Signature } = require('@hubspot/api-client/lib/src/utils/signature')
  return Signature.isValid({
    method,
    url,
    signatureVersion,
    signature: headers[name],
    clientSecret: secret,
    requestBody: body.toString(),
    timestamp: headers['x-hubspot-request-timestamp'],
  })
}

async function twilio({ url, headers, body, secret }) {
  const { validateRequest, validateRequestWithBody } = require('twilio')
  const signature = headers['x-twilio-signature']
  if (!headers['content-type'].includes('urlencoded')) {
    return validateRequestWithBody(secret, signature, url, body.toString())
  }
  const pairs = [...new URLSearchParams(body.toString())]
  const values = (wanted) => pairs.filter(([name]) => name === wanted).map(([, value]) => value)
  const params = Object.fromEntries(pairs.map(([name, value]) => [name, values(name).length > 1 ? values(name) : value]))
  return validateRequest(secret, signature, url, params)
}

const CHECKS = {
  async aws_sns({ body, keys }) {
    // It keeps certificates by their address, and asks for them itself.
    delete require.cache[require.resolve('sns-validator')]
    const Validator = require('sns-validator')
    require('node:https').get = (_, answer) => {
      answer(Object.assign(Readable.from(keys.slice(0, 1)), { statusCode: keys.length ? 200 : 404 }))
      return new EventEmitter()
    }
    await new Promise((resolve, reject) => {
      new Validator().validate(body.toString(), (error) => (error ? reject(error) : resolve()))
    })
  },
  async clerk({ url, method, headers, body, secret }) {
    const { verifyWebhook } = await import('@clerk/backend/webhooks')
    await verifyWebhook(new Request(url, { method, headers, body }), { signingSecret: secret })
  },
  async coinbase_commerce({ headers, body, secret }) {
    const { Webhook } = require('coinbase-commerce-node')
    return Webhook.verifySigHeader(body.toString(), headers['x-cc-webhook-signature'], secret)
  },
  async contentful({ method, url, headers, body, secret }) {
    const { verifyRequest } = await import('@contentful/node-apps-toolkit')
    const path = url.replace(/^https:\/\/[^/]*/, '')
    return verifyRequest(secret, { method, path, headers, body: body.toString() })
  },
  async discord({ headers, body, secret }) {
    const { verifyKey } = require('discord-interactions')
    return verifyKey(body, headers['x-signature-ed25519'], headers['x-signature-timestamp'], secret)
  },
  async github({ headers, body, secret }) {
    const { verify } = await import('@octokit/webhooks-methods')
    return verify(secret, body.toString(), headers['x-hub-signature-256'])
  },
  hubspot_v1: hubspot('v1', 'x-hubspot-signature'),
  hubspot_v2: hubspot('v2', 'x-hubspot-signature'),
  hubspot_v3: hubspot('v3', 'x-hubspot-signature-v3'),
  async linear({ headers, body, secret }) {
    const { LinearWebhookClient } = await import('@linear/sdk/webhooks')
    return new LinearWebhookClient(secret).verify(body, headers['linear-signature'])
  },
  async livekit({ headers, body, secret }) {
    const { WebhookReceiver } = await import('livekit-server-sdk')
    const [name, key] = secret.split(':')
    try {
      await new WebhookReceiver(name, key).receive(body.toString(), headers.authorization)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error // it reads the body once it has verified it
    }
  },
  async messagebird({ url, headers, body, secret }) {
    const { verify } = require('messagebird/lib/webhook-signature-jwt')
    return verify(url, body, headers['messagebird-signature-jwt'], createSecretKey(Buffer.from(secret)))
  },
  async mux({ headers, body, secret }) {
    const { default: Mux } = await import('@mux/mux-node')
    const client = new Mux({ tokenId: 'none', tokenSecret: 'none' })
    await client.webhooks.verifySignature(body.toString(), headers, secret)
  },
  async notion({ headers, body, secret }) {
    const { verifyWebhookSignature } = require('@notionhq/client')
    return verifyWebhookSignature({ body, signature: headers['x-notion-signature'], verificationToken: secret })
  },
  async openai({ headers, body, secret }) {
    const { default: OpenAI } = await import('openai')
    await new OpenAI({ apiKey: 'none' }).webhooks.verifySignature(body.toString(), headers, secret)
  },
  async qstash({ url, headers, body, secret }) {
    const { Receiver } = await import('@upstash/qstash')
    const receiver = new Receiver({ currentSigningKey: secret, nextSigningKey: secret })
    return receiver.verify({ signature: headers['upstash-signature'], body: body.toString(), url })
  },
  async sanity({ headers, body, secret }) {
    const { assertValidRequest } = await import('@sanity/webhook')
    await assertValidRequest({ headers, body }, secret)
  },
  async sendgrid({ headers, body, secret }) {
    const { EventWebhook } = require('@sendgrid/eventwebhook')
    const name = 'x-twilio-email-event-webhook'
    const webhook = new EventWebhook()
    const key = webhook.convertPublicKeyToECDSA(secret)
    return webhook.verifySignature(key, body, headers[`${name}-signature`], headers[`${name}-timestamp`])
  },
  async shopify({ method, url, headers, body, secret }) {
    await import('@shopify/shopify-api/adapters/node')
    const { ApiVersion, shopifyApi } = await import('@shopify/shopify-api')
    const { webhooks } = shopifyApi({
      apiKey: 'none',
      apiSecretKey: secret,
      hostName: 'hooks.example.com',
      apiVersion: Object.values(ApiVersion)[0],
      isEmbeddedApp: false,
      logger: { level: 0 },
    })
    const { valid } = await webhooks.validate({
      rawBody: body.toString(),
      rawRequest: { method, url, headers },
      rawResponse: {},
    })
    return valid
  },
  async slack({ headers, body, secret }) {
    const { verifySlackRequest } = require('@slack/bolt/dist/receivers/verify-request')
    verifySlackRequest({ signingSecret: secret, headers, body: body.toString() })
  },
  async square({ url, headers, body, secret }) {
    const { WebhooksHelper } = require('square')
    return WebhooksHelper.verifySignature({
      requestBody: body.toString(),
      signatureHeader: headers['x-square-hmacsha256-signature'],
      signatureKey: secret,
      notificationUrl: url,
    })
  },
  async stripe({ headers, body, secret }) {
    const { default: Stripe } = await import('stripe')
    const { signature } = new Stripe('none').webhooks
    return signature.verifyHeader(body.toString(), headers['stripe-signature'], secret, 300)
  },
  async telnyx({ headers, body, secret }) {
    const { TelnyxWebhook } = require('telnyx/lib/webhooks')
    await new TelnyxWebhook(secret).verify(body.toString(), headers)
  },
  async transloadit({ headers, body, secret }) {
    const { verifyWebhookSignature } = await import('@transloadit/utils')
    const form = await new Response(body, { headers: { 'content-type': headers['content-type'] } }).formData()
    return verifyWebhookSignature({
      rawBody: form.get('transloadit'),
      signatureHeader: form.get('signature'),
      authSecret: secret,
    })
  },
  twilio_form: twilio,
  twilio_json: twilio,
  async vonage({ headers, secret }) {
    const { verifySignature } = await import('@vonage/jwt')
    return verifySignature(headers.authorization.replace(/^Bearer /, ''), secret)
  },
  async webflow({ headers, body, secret }) {
    const { WebflowClient } = require('webflow-api')
    const { webhooks } = new WebflowClient({ accessToken: 'none' })
    return webhooks.verifySignature({ headers, body: body.toString(), secret })
  },
  async zoom({ headers, body, secret }) {
    const { AwsLambdaReceiver } = await import('@zoom/rivet/teamchat')
    const receive = new AwsLambdaReceiver({ webhooksSecretToken: secret }).start()
    const { statusCode } = await receive({ headers, body: body.toString(), isBase64Encoded: false })
    return statusCode === 200
  },
}

// Some tell what they do, where nothing but the answers may stand.
console.debug = console.error = console.warn = () => {}

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
