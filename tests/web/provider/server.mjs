// The certified provider, for tests: on a port of its own, with the clients given as JSON in the environment.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const { clients, accessTokenSeconds, dpopNonces } = JSON.parse(process.env.PROVIDER)
const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients,
    cookies: { keys: ['of the tests'] },
    claims: { openid: ['sub'], profile: ['name'] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, name: `${sub} of the tests` }) }),
    features: {
      backchannelLogout: { enabled: true },
      revocation: { enabled: true },
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 'of the tests'), requireNonce: () => Boolean(dpopNonces) },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://api.test',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'orders:read', audience: 'shop', accessTokenFormat: 'jwt' }),
      },
    },
    scopes: ['openid', 'profile', 'offline_access', 'orders:read'],
    rotateRefreshToken: true,
    ttl: { AccessToken: accessTokenSeconds, Session: 3600, Grant: 3600, RefreshToken: 3600, IdToken: 600, Interaction: 600 },
    acrValues: ['urn:test:again'],
    // Its own fetch refuses addresses of this machine, where the gateway under test is.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  })
  for (const event of ['grant.success', 'grant.error', 'backchannel.success', 'backchannel.error']) {
    provider.on(event, (ctx, error) => console.log(JSON.stringify({
      event, grant: ctx.oidc?.params?.grant_type, error: error?.message && String(error.message) })))
  }
  server.on('request', provider.callback())
  console.log(JSON.stringify({ issuer }))
})
