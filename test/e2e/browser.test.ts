// The page at `/` in a real Chromium, in front of a real coordinator.
import { expect } from 'chai'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { loadConfig } from '../../src/config/config.ts'
import { type Environment } from '../../src/config/environment.ts'
import type { NodeStatus } from '../../src/servers/http/status.ts'
import { Rondo } from '../../src/app/rondo.ts'
import { findChromium, launchChromium } from '../support/browser.ts'
import { type RedisServer, startRedisCluster } from '../../scripts/redis-server.ts'

const chromium = findChromium()
const title = 'the page at / in a browser'
const suite = chromium.missing === null ? describe : describe.skip

suite(chromium.missing === null ? title : `${title} (skipped: ${chromium.missing})`, function () {
  this.timeout(30_000)
  let browser: Browser
  let rondo: Rondo | undefined
  let page: Page
  let problems: string[]

  before(async () => {
    browser = await launchChromium(chromium.path!)
  })
  after(() => browser?.close())
  afterEach(async () => {
    await page?.context().close()
    await rondo?.stop()
    rondo = undefined
  })

  /** Starts a coordinator, and gives where it listens. */
  async function serve(env: Environment = {}): Promise<string> {
    const loaded = loadConfig({ PORT: '0', RESP_PORT: 'off', PING_INTERVAL_SECONDS: '1', ...env })
    if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
    rondo = new Rondo(loaded.config)
    await rondo.start()
    const { port } = (await rondo.listen()).http
    return `http://localhost:${port}`
  }

  /** A fresh tab; `problems` collects what the browser has to complain of, refusals by the policy included. */
  async function newTab(options: BrowserContextOptions = {}): Promise<Page> {
    page = await (await browser.newContext(options)).newPage()
    const found: string[] = []
    problems = found
    page.on('pageerror', (error) => found.push(String(error)))
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') found.push(message.text())
    })
    return page
  }

  /** Answers the page's questions with this instead of the coordinator. */
  function answerStatus(nodes: Record<string, Partial<NodeStatus>>): Promise<unknown> {
    const status = Object.entries(nodes).map(([address, node]) => [
      address,
      { ...HEALTHY, id: address, ...node },
    ])
    return page.route('**/status', (route) => route.fulfill({ json: Object.fromEntries(status) as object }))
  }

  /** Waits until the summary says so. */
  async function summarySays(text: string): Promise<void> {
    await page.locator('#summary', { hasText: text }).waitFor()
  }

  it('shows four healthy nodes, where to send a first key, and nothing to complain of', async () => {
    const origin = await serve()
    await newTab()
    const asked: string[] = []
    page.on('request', (request) => asked.push(`${request.method()} ${request.url()}`))
    await page.goto(origin)
    await summarySays('4 of 4 nodes healthy')

    const ids = await page.getByRole('rowheader').allInnerTexts()
    expect(ids.map((text) => text.split('\n')[0])).to.deep.equal([
      'memory-1',
      'memory-2',
      'memory-3',
      'memory-4',
    ])
    const firstRow = page.getByRole('row', { name: /^memory-1/ })
    expect(await firstRow.innerText()).to.match(/● up\s+clean/)
    expect(await firstRow.innerText()).to.match(/of 64\sMiB/)
    expect(await page.locator('caption').innerText()).to.match(/at \d.*; asked every 2\.5 s$/)
    expect(await page.title()).to.equal('4 of 4 nodes healthy · Rondo')
    expect(await page.locator('#ask').isVisible()).to.equal(false)
    expect(await page.locator('#try').innerText()).to.equal(
      `curl -X PUT ${origin}/api/v1/keys/hello -H 'Content-Type: application/json' -d '{"value":"world"}'\n` +
        `curl ${origin}/api/v1/keys/hello`,
    )
    // The style applies: the policy knows it.
    expect(
      await page.evaluate(`getComputedStyle(document.querySelector('#summary')).borderLeftWidth`),
    ).to.equal('5px')
    expect(
      asked.filter((line) => line !== `GET ${origin}/` && line !== `GET ${origin}/status`),
    ).to.deep.equal([])
    expect(problems).to.deep.equal([])
  })

  it('copies both lines', async () => {
    const origin = await serve()
    await newTab({ permissions: ['clipboard-read', 'clipboard-write'] })
    await page.goto(origin)
    await page.getByRole('button', { name: 'Copy' }).click()
    await page.getByText('Copied.').waitFor()
    const copied = await page.evaluate(`navigator.clipboard.readText()`)
    expect(copied).to.equal(await page.locator('#try').innerText())
  })

  it('asks for the token, keeps it for this tab alone, and asks again when it is wrong', async () => {
    const token = 'a-token-for-the-tests'
    const origin = await serve({ DATA_TOKEN: token, ADMIN_TOKEN: 'another-token-for-the-tests' })
    await newTab()
    await page.goto(origin)
    await summarySays('A token is needed')
    const field = page.getByLabel(/DATA_TOKEN/)
    expect(await page.locator('#nodes').isVisible()).to.equal(false)
    expect((await page.locator('#try').innerText()).split('\n')).to.deep.equal([
      `curl -X PUT ${origin}/api/v1/keys/hello -H 'Content-Type: application/json' -d '{"value":"world"}' ` +
        '-H "Authorization: Bearer $DATA_TOKEN"',
      `curl ${origin}/api/v1/keys/hello -H "Authorization: Bearer $DATA_TOKEN"`,
    ])

    await field.fill('not-this-one')
    await field.press('Enter')
    await page.getByRole('alert').filter({ hasText: 'not accepted' }).waitFor()

    await field.fill(token)
    await page.getByRole('button', { name: 'Show the nodes' }).click()
    await summarySays('4 of 4 nodes healthy')
    expect(await field.isVisible()).to.equal(false)
    expect(await page.content()).not.to.include(token)

    await page.reload()
    await summarySays('4 of 4 nodes healthy')
    expect(await page.evaluate(`[localStorage.length, document.cookie]`)).to.deep.equal([0, ''])
    const otherTab = await page.context().newPage()
    await otherTab.goto(origin)
    await otherTab.locator('#summary', { hasText: 'A token is needed' }).waitFor()
  })

  it('says when the coordinator is not reachable, and since when', async () => {
    const origin = await serve()
    await newTab()
    await page.goto(origin)
    await summarySays('4 of 4 nodes healthy')
    await rondo!.stop()
    rondo = undefined
    await summarySays('The coordinator is not reachable')
    expect(await page.locator('#summary').innerText()).to.match(/The nodes below are as they were at \d/)
  })

  it('asks again after an answer that it could not use, and shows what that was', async () => {
    const origin = await serve()
    await newTab()
    await page.route('**/status', (route) => route.fulfill({ status: 502, body: '<h1>Bad gateway</h1>' }))
    await page.goto(origin)
    await summarySays('The coordinator answers 502')
    await page.unroute('**/status')
    await summarySays('4 of 4 nodes healthy')
  })

  it('says so when a node is down, and when it is back', async function () {
    let servers: RedisServer[] = []
    try {
      servers = await startRedisCluster(4)
      const urls = servers.map((server, i) => `redis-${i + 1}=${server.url}`)
      const origin = await serve({ REDIS_URLS: urls.join(',') })
      await newTab()
      await page.goto(origin)
      await summarySays('4 of 4 nodes healthy')
      await servers[1]!.kill()
      await summarySays('3 of 4 nodes healthy')
      await summarySays('redis-2 is down; its keys are served by the other replicas.')
      const row = page.getByRole('row', { name: /^redis-2/ })
      expect(await row.innerText()).to.match(/○ down[^]*behind[^]*Last error: /)
      expect(await row.innerText()).to.include(`127.0.0.1:${servers[1]!.port}`)

      await servers[1]!.restart()
      await summarySays('4 of 4 nodes healthy')
      // It came back empty, and is filled: in the end the page calls it clean.
      await page.getByRole('row', { name: /^redis-2[^]*holds all that was acknowledged/ }).waitFor()
      expect(problems).to.deep.equal([])
    } finally {
      await Promise.all(servers.map((server) => server.stop()))
    }
  })

  it('shows what a node says as text, whatever it says', async () => {
    const origin = await serve()
    await newTab()
    const nasty = '<img src=x onerror="document.title=1"><script>document.title = 1</script>'
    await answerStatus({ [nasty]: { id: nasty, isHealthy: false, state: 'down', error: nasty, zone: nasty } })
    await page.goto(origin)
    await summarySays(`${nasty} is down; nothing can be served.`)
    expect(await page.locator('td:last-child').innerText()).to.equal(`Last error: ${nasty}`)
    expect(await page.locator('img, tbody script').count()).to.equal(0)
    expect(problems).to.deep.equal([])
  })

  it('says in words what is wrong with each node', async () => {
    const origin = await serve()
    await newTab()
    const MiB = 1024 ** 2
    await answerStatus({
      'a:1': { unwritable: 'out-of-memory', memoryUsedBytes: 9.9 * MiB, memoryLimitBytes: 10 * MiB },
      'b:1': { clockOffMs: -5234, clockErrorMs: 1, evictedKeys: 12_345, evictionPolicy: 'volatile-lru' },
      'c:1': { completeness: 'filling', zone: 'west', weight: 2, memoryLimitBytes: 0 },
      'd:1': {
        isHealthy: false,
        state: 'suspect',
        completeness: 'refused',
        error: 'refused: another cluster',
      },
      'e:1': { isHealthy: false, state: 'suspect', completeness: 'unknown', memoryUsedBytes: null },
      'f:1': { isHealthy: false, state: 'suspect', error: 'no answer within 300 ms' },
      'g:1': { mayBeBehind: true },
      'h:1': { isHealthy: false, state: 'down', error: 'refused' },
      'i:1': { isHealthy: false, state: 'down', error: 'refused' },
      'j:1': { completeness: 'stale' },
    })
    await page.goto(origin)
    await summarySays('5 of 10 nodes healthy')
    const b = await page.getByRole('row').filter({ hasText: 'volatile-lru' }).innerText()
    expect(b).to.include('without what it has evicted').and.not.include('acknowledged')
    expect((await page.locator('#summary').innerText()).split(/\n+/).slice(1)).to.deep.equal([
      'h:1 and i:1 are down; their keys are served by the replicas that are left, if any.',
      'f:1 is suspect: the last call failed, and another is on its way.',
      'd:1 is refused, and nothing is written there.',
      'e:1 is not in use yet; a new cluster begins once more than half of its nodes answer.',
      'a:1 is full: it serves reads and deletes, but takes no new values.',
      'c:1 is filling: answers from there do not count until all is there.',
      'j:1 is stale: away for so long that it may hold deleted values, so answers from there do not count.',
      'g:1 is behind: writes may have been missed there, so reads go to others first.',
    ])
    const rows = await page.locator('tbody tr').allInnerTexts()
    const expected = [
      /● up[^]*9\.9\sMiB of 10\sMiB[^]*It is full/,
      /Its clock is 5\.2 s behind cluster time\.\s+It has evicted 12,345 keys \(volatile-lru\)/,
      /zone west\s+weight 2[^]*filling[^]*no limit/,
      /○ refused[^]*not a node of this cluster/,
      /◐ not in use yet\s+not known yet\s+not known/,
      /◐ suspect[^]*no answer within 300 ms/,
      /● up\s+clean, behind/,
      /○ down/,
      /○ down/,
      /● up\s+stale/,
    ]
    expect(rows).to.have.length(expected.length)
    expected.forEach((pattern, i) => expect(rows[i]).to.match(pattern))
  })

  it('asks every 2.5 seconds, not while the tab is hidden, and at once when it is seen again', async () => {
    const origin = await serve()
    await newTab()
    // The page's clock stands still, and moves when it is told to.
    await page.clock.install({ time: '2030-01-01T12:00:00' })
    await page.clock.pauseAt('2030-01-01T12:00:01')
    let asked = 0
    page.on('request', (request) => {
      if (request.url() === `${origin}/status`) asked++
    })
    const shownAt = (time: string) => page.locator('caption', { hasText: time }).waitFor()
    await page.goto(origin)
    await shownAt('12:00:01')
    await page.clock.runFor(2_499)
    expect(asked).to.equal(1)
    await page.clock.runFor(1)
    await shownAt('12:00:03')
    await page.clock.runFor(2_500)
    await shownAt('12:00:06')
    expect(asked).to.equal(3)

    await setVisibility('hidden')
    await page.clock.runFor(60_000)
    await setVisibility('visible')
    await shownAt('12:01:06')
    expect(asked).to.equal(4)
  })

  it('fits a phone, keeps its table a table there, and can be read in the dark', async () => {
    const origin = await serve()
    for (const colorScheme of ['light', 'dark'] as const) {
      await newTab({ viewport: { width: 360, height: 640 }, colorScheme })
      await page.goto(origin)
      await summarySays('4 of 4 nodes healthy')
      expect(await page.evaluate(`document.documentElement.scrollWidth`)).to.be.at.most(360)
      expect(await page.getByRole('table').getByRole('columnheader').allTextContents()).to.deep.equal([
        'Node',
        'State',
        'Data',
        'Memory',
        'Notes',
      ])
      // WCAG AA asks for 4.5 : 1.
      const texts = await page.evaluate<{ text: string; ratio: number }[]>(CONTRASTS)
      expect(texts).to.have.length.above(20)
      for (const { text, ratio } of texts) expect(ratio, text).to.be.at.least(4.5)
      await page.context().close()
    }
  })

  /** Headless tabs are never hidden: the page is told so in the browser's words. */
  function setVisibility(state: 'hidden' | 'visible'): Promise<void> {
    return page.evaluate(`
      Object.defineProperty(document, 'hidden', { value: ${state === 'hidden'}, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
      undefined`)
  }
})

const HEALTHY: NodeStatus = {
  id: '',
  isHealthy: true,
  state: 'up',
  completeness: 'clean',
  syncedAgoSeconds: 60,
  mayBeBehind: false,
  misplacedKeys: 0,
  unwritable: null,
  error: null,
  software: 'redis 7.0.15',
  clockOffMs: 0,
  clockErrorMs: 0,
  memoryUsedBytes: 1024 ** 2,
  memoryLimitBytes: 1024 ** 3,
  evictionPolicy: 'noeviction',
  evictedKeys: 0,
  weight: 1,
  zone: null,
}

// What runs inside the browser is a string: the DOM's types would otherwise be there in all of the project.

/** Each text on the page, with the contrast of its colour to what lies behind it, by the formula of WCAG 2. */
const CONTRASTS = `
  (() => {
    const rgba = (colour) => colour.match(/[\\d.]+/g).map(Number)
    const luminance = (colour) => {
      const [r, g, b] = rgba(colour).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = getComputedStyle(at).backgroundColor
        if (rgba(colour)[3] !== 0) return colour
      }
      throw new Error('nothing behind ' + element.outerHTML)
    }
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
    return [...document.body.querySelectorAll('*')]
      .filter((element) => element.checkVisibility() && hasText(element))
      .map((element) => {
        const [light, dark] = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a)
        return { text: element.textContent, ratio: (light + 0.05) / (dark + 0.05) }
      })
  })()`
