import { serve } from './page.mjs'

const upstream = process.env.UPSTREAM

if (process.env.CACHE) {
  const { Agent, interceptors, setGlobalDispatcher } = await import('undici')
  setGlobalDispatcher(new Agent().compose(interceptors.cache()))
}

await serve(async (path) => {
  const response = await fetch(upstream + path, { signal: AbortSignal.timeout(1000) })
  if (!response.ok) throw new Error(`upstream said ${response.status}`)
  return response.json()
})
