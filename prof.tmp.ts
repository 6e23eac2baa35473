import { startRedisCluster } from './scripts/redis-server.ts'
import { start, portSaidBy, cpuSeconds } from './bench/processes.ts'
import { summarise } from './bench/profile/profile.ts'
import { Redis } from 'ioredis'
import { readdirSync } from 'node:fs'
const near = process.argv[2]!, secs = process.argv[3]!
const nodes = await startRedisCluster(4)
const urls = nodes.map(({ port }, i) => `n${i + 1}=127.0.0.1:${port}`).join(',')
const dir = `/tmp/nearprof-${near}`
const c = start(process.execPath, ['--cpu-prof', `--cpu-prof-dir=${dir}`, 'dist/main.js'], { cwd: process.cwd(), env: { NODE_ENV:'production', REDIS_URLS: urls, PORT:'0', RESP_PORT:'0', NEAR_CACHE_MAX_BYTES: near } })
const port = await portSaidBy(c, /redis-cli -p (\d+)/)
const client = new Redis(port, '127.0.0.1')
for (let from = 0; from < 100000; from += 500) { const p = client.pipeline(); for (let r = from; r < from+500; r++) p.set(`bench:key:${String(r).padStart(6,'0')}`, 'v'.repeat(100)); await p.exec() }
client.disconnect()
for (const pl of [1, 16]) { const b = cpuSeconds(c.pid)
const z = start(process.execPath, ['bench/load/zipf.mjs', String(port), '100000', secs, '50', String(pl), '100'], { cwd: process.cwd() })
const out = JSON.parse(await z.finished); console.log(near, pl, out, ((cpuSeconds(c.pid)-b)*1e6/out.requests).toFixed(2)) }
await c.end()
await Promise.all(nodes.map(n => n.stop()))
console.log(summarise(`${dir}/${readdirSync(dir).at(-1)}`, 30))
process.exit(0)
