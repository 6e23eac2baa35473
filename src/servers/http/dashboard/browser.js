/* global document, location, navigator, sessionStorage, fetch, AbortSignal, getSelection, setTimeout, clearTimeout */
// What runs in the browser: asks GET /status again and again, and shows the answer. It never asks for anything else.
//
// Whatever /status says is text from elsewhere (names of nodes, their errors): it gets onto the page as textContent only.

const REFRESH_MS = 2500
const ANSWER_MS = 5000
const CLOCK_SKEW_MS = 1000
const SHOWN_NAMES = 4

const find = (selector) => document.querySelector(selector)
const make = ([tag, textContent, props]) =>
  Object.assign(document.createElement(tag), { textContent, ...props })

// ---- words

const STATES = {
  up: ['● up', 'ok'],
  waiting: ['◐ not in use yet', 'warn'],
  suspect: ['◐ suspect', 'warn'],
  refused: ['○ refused', 'bad'],
  down: ['○ down', 'bad'],
}
const DATA = {
  clean: ['clean', 'ok', 'holds all that was acknowledged'],
  filling: ['filling', 'warn', 'its answers do not count until it is clean'],
  stale: ['stale', 'warn', 'it may hold deleted values: its answers do not count'],
  refused: ['refused', 'bad', 'not a node of this cluster'],
  unknown: ['not known yet', 'warn', ''],
}
const UNWRITABLE = {
  'out-of-memory': 'full: it serves reads and deletes, but takes no new values',
  'read-only': 'read-only: no write is taken',
  loading: 'loading its data, and out of use until that is done',
  misconf: 'refusing writes, because saving to disk fails',
  busy: 'busy with a script, and answering nothing else',
  'no-permission': 'not allowed to run what Rondo needs: it gets no writes',
}

function stateOf(node) {
  if (node.isHealthy) return 'up'
  if (node.state !== 'down' && node.completeness === 'refused') return 'refused'
  return node.state === 'down' || (node.state === 'suspect' && node.error) ? node.state : 'waiting'
}

function bytes(n) {
  const power = [3, 2, 1].find((each) => n >= 1024 ** each) ?? 0
  const size = n / 1024 ** power
  return `${Number(size.toFixed(size < 10 ? 1 : 0))}\u00a0${['bytes', 'KiB', 'MiB', 'GiB'][power]}`
}

function namesOf(nodes) {
  const ids = nodes.map((node) => node.id)
  const shown = ids.slice(0, ids.length > SHOWN_NAMES ? SHOWN_NAMES - 1 : -1)
  const last = ids.length > SHOWN_NAMES ? `${ids.length - shown.length} others` : ids.at(-1)
  return shown.length > 0 ? `${shown.join(', ')} and ${last}` : last
}

/** What is not as it should be, and what that means: a sentence each. */
function troublesOf(nodes) {
  const sentences = []
  const tell = (which, what) => {
    if (which.length > 0) sentences.push(`${namesOf(which)} ${which.length > 1 ? 'are' : 'is'} ${what}.`)
  }
  const inState = (state) => nodes.filter((node) => stateOf(node) === state)
  const down = inState('down')
  if (down.length === nodes.length) tell(down, 'down; nothing can be served')
  else if (down.length === 1) tell(down, 'down; its keys are served by the other replicas')
  else tell(down, 'down; their keys are served by the replicas that are left, if any')
  if (down.length > 1 && down.length * 2 > nodes.length)
    sentences.push("The fault may be this coordinator's own network; it keeps trying all of them.")
  tell(inState('suspect'), 'suspect: the last call failed, and another is on its way')
  tell(inState('refused'), 'refused, and nothing is written there')
  tell(inState('waiting'), 'not in use yet; a new cluster begins once more than half of its nodes answer')
  for (const [reason, meaning] of Object.entries(UNWRITABLE))
    tell(
      nodes.filter((node) => node.unwritable === reason),
      meaning,
    )
  const filling = inState('up').filter((node) => node.completeness === 'filling')
  tell(filling, 'filling: answers from there do not count until all is there')
  const stale = inState('up').filter((node) => node.completeness === 'stale')
  tell(stale, 'stale: away for so long that it may hold deleted values, so answers from there do not count')
  const behind = inState('up').filter((node) => node.mayBeBehind)
  tell(behind, 'behind: writes may have been missed there, so reads go to others first')
  return sentences
}

// ---- one row a node

/** The texts of a row, cell by cell, as what `make` takes. */
function cellsOf(address, node) {
  const text = (words, className = '') => ['span', words, { className }]
  const [state, stateLook] = STATES[stateOf(node)]
  const [data, dataLook, meaning] = DATA[node.completeness]
  const { memoryUsedBytes: used, memoryLimitBytes: limit, clockOffMs: off } = node
  const about = [
    node.software,
    node.zone && `zone ${node.zone}`,
    node.weight !== 1 && `weight ${node.weight}`,
  ]

  const memory = []
  if (used === null) memory.push(text('not known', 'quiet'))
  else if (limit === 0) memory.push(text(bytes(used)), text('no limit', 'quiet'))
  else {
    memory.push(text(`${bytes(used)} of ${bytes(limit)}`))
    memory.push(['meter', '', { max: limit, value: used, ariaHidden: 'true' }])
  }

  const notes = []
  if (node.unwritable) notes.push(`It is ${UNWRITABLE[node.unwritable]}.`)
  if (off !== null && Math.abs(off) > CLOCK_SKEW_MS + node.clockErrorMs) {
    const seconds = (Math.abs(off) / 1000).toFixed(1)
    notes.push(`Its clock is ${seconds} s ${off > 0 ? 'ahead of' : 'behind'} cluster time.`)
  }
  if (node.evictedKeys > 0) {
    notes.push(`It has evicted ${node.evictedKeys.toLocaleString('en')} keys (${node.evictionPolicy}).`)
  }
  if (node.misplacedKeys > 0) {
    notes.push(
      `It holds ${node.misplacedKeys.toLocaleString('en')} keys that Rondo did not write and looks for elsewhere.`,
    )
  }
  if (node.error) notes.push(`Last error: ${node.error}`)

  return [
    [
      text(node.id),
      ...[address !== node.id && address, ...about].filter(Boolean).map((s) => text(s, 'quiet')),
    ],
    [text(state, stateLook)],
    node.mayBeBehind && node.completeness === 'clean'
      ? [text('clean, behind', 'warn'), text('may have missed writes', 'quiet')]
      : node.completeness === 'clean' && node.evictedKeys > 0
        ? [text(data, dataLook), text('without what it has evicted', 'quiet')]
        : [text(data, dataLook), text(meaning, 'quiet')],
    memory,
    notes.map((note) => text(note)),
  ]
}

const rows = new Map()

function rowOf(address) {
  const known = rows.get(address)
  if (known) return known
  const row = make(['tr', '', { role: 'row' }])
  row.append(make(['th', '', { role: 'rowheader', scope: 'row' }]))
  for (const label of ['State', 'Data', 'Memory', 'Notes']) {
    const cell = make(['td', '', { role: 'cell' }])
    cell.dataset.label = label
    row.append(cell)
  }
  rows.set(address, row)
  return row
}

/** Changes only what says something else than before: a text that somebody has selected stays selected. */
function update(element, parts) {
  const now = JSON.stringify(parts)
  if (element.shown === now) return
  element.shown = now
  element.replaceChildren(...parts.map(make))
}

function showNodes(entries) {
  const wanted = entries.map(([address, node]) => {
    const row = rowOf(address)
    cellsOf(address, node).forEach((parts, i) => update(row.cells[i], parts))
    return row
  })
  const body = find('tbody')
  const same = wanted.length === body.rows.length && wanted.every((row, i) => row === body.rows[i])
  if (!same) body.replaceChildren(...wanted)
}

/** A screen reader says it whenever it changes, so it holds no time and no number that moves by itself. */
function showSummary(look, headline, sentences = []) {
  find('#summary').className = look
  update(find('#summary'), [['strong', headline], ...sentences.map((sentence) => ['p', sentence])])
  document.title = `${headline} · Rondo`
}

// ---- asking

/** Null where the browser is set to keep nothing: the token then lives until the page is left. */
const store = (() => {
  try {
    return sessionStorage
  } catch {
    return null
  }
})()
let token = store?.getItem('token') ?? null
let lastAt = null
let timer = null
let asking = false

async function fetchStatus() {
  try {
    const answer = await fetch(`${location.origin}/status`, {
      headers: token === null ? {} : { Authorization: `Bearer ${token}` },
      cache: 'no-store',
      signal: AbortSignal.timeout(ANSWER_MS),
    })
    // A proxy in front may answer with a page of its own.
    return { code: answer.status, body: await answer.json().catch(() => null) }
  } catch {
    return null
  }
}

/** One question at a time, and none while nobody looks or while a token is waited for. */
async function ask() {
  clearTimeout(timer)
  const waitsForToken = !find('#ask').hidden && token === null
  if (asking || waitsForToken || document.hidden) return
  asking = true
  const answer = await fetchStatus()
  asking = false
  timer = setTimeout(ask, REFRESH_MS)
  if (answer === null) showTrouble('The coordinator is not reachable')
  else if (answer.code === 200 && answer.body) showStatus(answer.body)
  else if (answer.code === 401) askForToken()
  else showTrouble(`The coordinator answers ${answer.code}: ${answer.body?.error ?? 'not its own answer'}`)
}

function showStatus(status) {
  const byId = ([, a], [, b]) => a.id.localeCompare(b.id, 'en', { numeric: true })
  const entries = Object.entries(status).sort(byId)
  const nodes = entries.map(([, node]) => node)
  const healthy = nodes.filter((node) => node.isHealthy).length
  const troubles = troublesOf(nodes)
  const look = healthy === 0 ? 'bad' : troubles.length > 0 ? 'warn' : 'ok'
  showSummary(look, `${healthy} of ${nodes.length} nodes healthy`, troubles)
  showNodes(entries)
  lastAt = new Date().toLocaleTimeString()
  find('caption').textContent =
    `As this coordinator saw them at ${lastAt}; asked every ${REFRESH_MS / 1000} s`
  find('#nodes').hidden = false
  find('#ask').hidden = true
}

function showTrouble(headline) {
  showSummary('bad', headline, lastAt === null ? [] : [`The nodes below are as they were at ${lastAt}.`])
  find('caption').textContent = `As this coordinator saw them at ${lastAt}`
}

function askForToken() {
  find('#refusal').textContent = token === null ? '' : 'This token was not accepted.'
  token = null
  store?.removeItem('token')
  showSummary('', 'A token is needed to see the nodes')
  find('#nodes').hidden = true
  find('#ask').hidden = false
  find('#token').focus()
  showTry(true)
}

document.addEventListener('visibilitychange', ask)
find('form').addEventListener('submit', (event) => {
  event.preventDefault()
  token = find('#token').value
  find('#token').value = ''
  store?.setItem('token', token)
  void ask()
})

// ---- the lines to try

function showTry(withToken) {
  const header = withToken ? ' -H "Authorization: Bearer $DATA_TOKEN"' : ''
  const url = `${location.origin}/api/v1/keys/hello`
  const put = `curl -X PUT ${url} -H 'Content-Type: application/json' -d '{"value":"world"}'${header}`
  find('#try').textContent = `${put}\ncurl ${url}${header}`
}

find('#copy').addEventListener('click', async () => {
  getSelection().selectAllChildren(find('#try'))
  // Browsers give the clipboard to https and localhost only.
  const copying =
    navigator.clipboard?.writeText(find('#try').textContent) ?? Promise.reject(new Error('none'))
  find('#copied').textContent = await copying.then(
    () => 'Copied.',
    () => 'Selected; copy it with the keyboard.',
  )
})

showTry(token !== null)
void ask()
