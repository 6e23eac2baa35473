// autocannon in a process of its own, with the same arguments and the same line of JSON as wrk.lua:
//
//   node autocannon.mjs http://127.0.0.1:8080 PUT requests.tsv <first> <connections> <seconds>
//
// Each connection walks its own share of the file: autocannon builds the requests anew for every connection, and
// fifty times ten thousand would take longer than the run.
import { readFileSync } from 'node:fs'
import autocannon from 'autocannon'

const [url, method, file, firstText, connectionsText, secondsText] = process.argv.slice(2)
const first = Number(firstText)
const connections = Number(connectionsText)

const requests = readFileSync(file, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [path, body] = line.split('\t')
    if (body === undefined) return { method, path }
    return { method, path, body, headers: { 'content-type': 'application/json' } }
  })

/** Every 50th request, say, in turn, so that all connections together begin with the first. */
function shareOf(connection) {
  const share = []
  for (let i = connection; i < requests.length; i += connections) {
    share.push({ ...requests[(first + i) % requests.length] })
  }
  return share
}

let next = 0
const run = autocannon({
  url,
  connections,
  duration: Number(secondsText),
  setupClient(client) {
    client.setRequests(shareOf(next++))
  },
})
// Its own histogram counts whole milliseconds and has no 95th percentile: keep every time and sort them.
const times = []
run.on('response', (_client, _status, _bytes, ms) => times.push(ms))
const result = await run

times.sort((a, b) => a - b)
const percentile = (percent) => times[Math.ceil((percent / 100) * times.length) - 1] ?? NaN
const line = {
  requests: result.requests.total,
  seconds: result.duration,
  p50Ms: percentile(50),
  p95Ms: percentile(95),
  p99Ms: percentile(99),
  errors: result.errors + result.timeouts + result.non2xx + result.resets,
}
process.stdout.write(`${JSON.stringify(line)}\n`)
