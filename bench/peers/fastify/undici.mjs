import { Pool, interceptors } from 'undici'
import { serve } from './page.mjs'

const upstream = process.env.UPSTREAM
const options = { connections: 128, pipelining: 1, headersTimeout: 1000, bodyTimeout: 1000 }
let dispatcher = new Pool(upstream, options)
if (process.env.CACHE) dispatcher = dispatcher.compose(interceptors.cache())

await serve(async (path) => {
  const { statusCode, body } = await dispatcher.request({ origin: upstream, path, method: 'GET' })
  if (statusCode !== 200) throw new Error(`upstream said ${statusCode}`)
  return body.json()
})
