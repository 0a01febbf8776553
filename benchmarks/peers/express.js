// The service that the relay replaces, and the same with BullMQ: `node express.js memory|bullmq [REDIS_PORT]`.
const crypto = require('crypto')
const express = require('express')
const { rateLimit } = require('express-rate-limit')
const helmet = require('helmet')

const [kind, redisPort] = process.argv.slice(2)
const KEY = Buffer.from('benchmark-key')
const jobs = new Map()
const queue = kind === 'bullmq' && new (require('bullmq').Queue)('claude', {
  connection: { host: '127.0.0.1', port: Number(redisPort) }
})

const app = express()
app.use(helmet())
app.use(rateLimit({ windowMs: 60000, limit: 1e6 }))
app.use(express.json({ limit: '32mb' }))
app.post('/api/claude', async (req, res) => {
  const key = Buffer.from(req.get('x-api-key') || '')
  if (key.length !== KEY.length || !crypto.timingSafeEqual(key, KEY)) return res.status(403).json({ error: 'key' })
  if (typeof req.body.prompt !== 'string' || !req.body.prompt) return res.status(400).json({ error: 'prompt' })
  const requestId = req.body.requestId || crypto.randomUUID()
  if (queue) await queue.add('call', req.body, { jobId: requestId })
  else {
    // Bounded, as a benchmark's memory must be; the real service keeps each job until it has ended.
    if (jobs.size >= 10000) jobs.clear()
    jobs.set(requestId, { ...req.body, status: 'pending' })
  }
  res.status(202).json({ message: 'Request accepted and processing', requestId, status: 'pending' })
})
const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
