// The page, served by Fastify with a response schema; `get` reads one JSON document from the upstream.
import Fastify from 'fastify'

const text = { type: 'string' }
const integer = { type: 'integer' }
const object = (properties) => ({ type: 'object', properties })
const schema = {
  response: {
    200: object({
      product: object({
        id: text, name: text, description: text, brand: text, category: text, price: integer, currency: text,
        rating: { type: 'number' }, reviews_count: integer, images: { type: 'array', items: text },
        tags: { type: 'array', items: text }, in_stock: { type: 'boolean' }
      }),
      reviews: { type: 'array', items: object({ id: text, author: text, rating: integer, title: text, body: text, created_at: text }) },
      related: { type: 'array', items: object({ id: text, name: text, price: integer, currency: text, image: text }) }
    })
  }
}

export async function serve (get) {
  const app = Fastify({ logger: false })
  app.get('/products/:id', { schema }, async (request) => {
    const id = encodeURIComponent(request.params.id)
    const [product, reviews, related] = await Promise.all([
      get(`/products/${id}`), get(`/products/${id}/reviews`), get(`/products/${id}/related`)
    ])
    return { product, reviews, related }
  })
  app.get('/sections/:count', async (request) => {
    const id = encodeURIComponent(request.query.id)
    const parts = await Promise.all(Array.from({ length: Number(request.params.count) }, (_, n) => get(`/products/${id}/related?section=${n}`)))
    return Object.fromEntries(parts.map((part, n) => [`s${n}`, part]))
  })
  await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
}
