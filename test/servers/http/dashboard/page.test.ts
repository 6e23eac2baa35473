import { createHash } from 'node:crypto'
import { expect } from 'chai'
import { loadConfig } from '../../../../src/config/config.ts'
import { page, PAGE_POLICY } from '../../../../src/servers/http/dashboard/page.ts'
import { Rondo } from '../../../../src/app/rondo.ts'

const html = page()
const blocks = (tag: string) => [...html.matchAll(new RegExp(`<${tag}\\b([^>]*)>([^]*?)</${tag}>`, 'g'))]

describe('the page at /', () => {
  it('holds one style and one script, and its policy allows these two alone', () => {
    for (const [tag, sources] of [
      ['style', PAGE_POLICY.styleSrc],
      ['script', PAGE_POLICY.scriptSrc],
    ] as const) {
      const [block, ...others] = blocks(tag)
      expect(others, `other <${tag}> blocks`).to.have.length(0)
      const [, attributes, text] = block!
      expect(attributes).to.equal('')
      expect(text!.length).to.be.above(1000)
      const hash = createHash('sha256').update(text!).digest('base64')
      expect(sources).to.deep.equal([`'sha256-${hash}'`])
    }
    expect(PAGE_POLICY.defaultSrc).to.deep.equal(["'none'"])
    expect(JSON.stringify(PAGE_POLICY)).not.to.match(/unsafe|\*|https?:/)
  })

  it('has no handler, style or script address in an attribute, which the policy would refuse', () => {
    const markup = html.replace(/(<style>)[^]*?(<\/style>)|(<script>)[^]*?(<\/script>)/g, '$1$2$3$4')
    expect(markup).not.to.match(/\s(on\w+|style|srcdoc|formaction)\s*=/i)
    expect(markup).not.to.match(/javascript:/i)
  })

  it('fetches nothing from elsewhere', () => {
    expect(html).not.to.match(/https?:\/\/|@import|url\(/i)
    expect(html).not.to.match(/["'`]\/\//) // an address without its scheme
    expect(html).not.to.match(/<(img|iframe|object|embed|audio|video|base)\b/i)
    const links = [...html.matchAll(/\s(?:src|href|action)\s*=\s*"([^"]*)"/g)].map(([, to]) => to!)
    expect(links.filter((to) => to !== 'data:,' && !/^\/\w/.test(to))).to.deep.equal([])
  })

  it('puts what it was told onto the page as text only, and never asks for more than a GET', () => {
    const script = blocks('script')[0]![2]!
    expect(script).not.to.match(
      /innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b|Function\(/,
    )
    expect(script).not.to.match(/method:|sendBeacon|XMLHttpRequest|localStorage|\.cookie/)
  })

  it('lists calls that the coordinator knows, each with its methods', async () => {
    const loaded = loadConfig({ HOST: '127.0.0.1', PORT: '0', RESP_PORT: 'off' })
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    const rondo = new Rondo(loaded.config)
    try {
      await rondo.start()
      const { port } = (await rondo.listen()).http
      const calls = [...html.matchAll(/<code>((?:[A-Z]+ )+)(\/[^<?]*)<\/code>/g)].flatMap(
        ([, methods, path]) =>
          methods!
            .trim()
            .split(' ')
            .map((method) => ({ method, path: path! })),
      )
      expect(calls).to.have.length.above(10)
      for (const { method, path } of calls) {
        const url = `http://127.0.0.1:${port}${path.replace(':key', 'hello')}`
        const answer = await fetch(url, { method })
        const text = await answer.text()
        const code = text.startsWith('{') ? (JSON.parse(text) as { code?: string }).code : undefined
        expect(['NOT_FOUND', 'METHOD_NOT_ALLOWED'], `${method} ${path}`).not.to.include(code)
        expect(answer.status, `${method} ${path}`).not.to.equal(405)
      }
    } finally {
      await rondo.stop()
    }
  })
})
