import { RawResp, command } from '/tmp/h/track/test/support/raw-resp.ts'
import { startRedisCluster } from '/tmp/h/track/scripts/redis-server.ts'
import { RondoUnderTest } from '/tmp/h/track/test/support/rondo-under-test.ts'
import net from 'node:net'
const servers = await startRedisCluster(3)
const ours = await RondoUnderTest.start(servers, { LOG_REQUESTS: 'none' })
const KEYS = 1000, CLIENTS = 50, MS = 3000
const w = await RawResp.open(ours.respPort)
for (let i=0;i<KEYS;i++) await w.ask('SET', `k${i}`, 'x'.repeat(100))
await w.ask('PING')
async function run(tracking: boolean, isDepth = 16, writes = false) {
  const socks: net.Socket[] = []
  let gets = 0, told = 0
  for (let c=0;c<CLIENTS;c++) {
    const s = net.connect(ours.respPort,'127.0.0.1'); await new Promise(r=>s.once('connect',r)); s.setNoDelay(true)
    s.write(command('HELLO','3')); if (tracking) s.write(command('CLIENT','TRACKING','ON'))
    await new Promise(r=>setTimeout(r,5)); s.read()
    socks.push(s)
  }
  await new Promise(r=>setTimeout(r,200))
  const cpu0 = process.cpuUsage(); const t0 = performance.now(); let on = true
  for (const s of socks) {
    let pend = 0
    const send = () => { const parts: Buffer[]=[]; for (let i=0;i<isDepth;i++) parts.push(command('GET',`k${Math.floor(Math.random()*KEYS)}`)); pend=isDepth; s.write(Buffer.concat(parts)) }
    s.on('data', (d) => {
      const t = d.toString('latin1')
      for (let i=-1; (i=t.indexOf('$100\r\n',i+1))>=0;) { gets++; pend-- }
      for (let i=-1; (i=t.indexOf('invalidate',i+1))>=0;) told++
      if (pend<=0 && on) send()
    })
    send()
  }
  const ww = (async()=>{ let n=0; while (on && writes) { await w.ask('SET',`k${n++%KEYS}`,'x'.repeat(100)) } return n })()
  await new Promise(r=>setTimeout(r,MS)); on=false
  const ms = performance.now()-t0; const cpu = process.cpuUsage(cpu0)
  const n = await ww
  for (const s of socks) s.destroy()
  await new Promise(r=>setTimeout(r,100))
  return { tracking, writes, getsPerS: Math.round(gets/ms*1000), toldPerS: Math.round(told/ms*1000), setsPerS: Math.round(n/ms*1000), cpuUsPerGet: ((cpu.user+cpu.system)/gets).toFixed(2) }
}
for (let r=0;r<3;r++) { console.log(await run(false)); console.log(await run(true)); console.log(await run(false,16,true)); console.log(await run(true,16,true)) }
await ours.stop(); await Promise.all(servers.map(s=>s.stop())); process.exit(0)
