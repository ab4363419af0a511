// A loader as Next.js, Remix and SvelteKit have them: on the server, with the cookies of who asks.
import createClient from 'openapi-fetch'
import type { components, paths } from './schema'

type Json = 'application/json' | 'application/problem+json' // and not the streams of the same pages

const api = createClient<paths, Json>({ baseUrl: 'http://127.0.0.1:8002' })

export type Product = components['schemas']['WebProductPage']

export async function product(id: string): Promise<Product | null> {
  const { data, response } = await api.GET('/api/products/{product_id}', { params: { path: { product_id: id } } })
  if (data === undefined) {
    if (response.status === 404) return null
    throw new Error(`the gateway says ${response.status}`)
  }
  return data
}

export async function home(request: Request) {
  const cookie = request.headers.get('cookie') ?? ''
  const { data, error, response } = await api.GET('/api/home', {
    params: { query: { include: 'user,orders' } },
    headers: { cookie },
  })
  if (response.status === 401) return { login: '/auth/login' }
  if (data === undefined) throw new Error(error.title)
  return { name: data.user?.name, totals: data.orders.map(order => order.total.amount), late: data._degraded ?? [] }
}

// In the browser, where the cookie goes along by itself and the header says that the call is the site's own.
export async function order(key: string): Promise<string> {
  const browser = createClient<paths, Json>({ headers: { 'X-CSRF': '1' } })
  const { data, error } = await browser.POST('/api/orders', {
    params: { header: { 'Idempotency-Key': key } },
    body: { lines: [{ product_id: 'p1', quantity: 2 }] },
  })
  if (data === undefined) throw new Error(error?.title)
  return data.id
}
