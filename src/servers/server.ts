/** A way in for clients: one protocol on one port. The program opens, reloads and closes all of them alike. */
import type { AddressInfo, Server as NetServer } from 'node:net'
import { Server as TlsServer, type TlsOptions } from 'node:tls'
import type { Registry } from 'prom-client'

export interface ListenOptions {
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
  /** Connections that may wait to be accepted. */
  readonly backlog: number
  readonly tls: TlsOptions | null
  /** A connection could not be accepted; the server goes on listening. */
  readonly onError: (error: NodeJS.ErrnoException) => void
}

export interface Server {
  /** Short, for messages between processes: `http`, `resp`. */
  readonly name: string
  /** Opens the port; rejects where that is not possible. */
  listen(options: ListenOptions): Promise<AddressInfo>
  /** For new connections; those that are open keep theirs. */
  useCertificates(tls: TlsOptions): void
  /** Goes on serving, and ends connections after their next response where the protocol can: close() follows. */
  announceClose(): void
  /** Takes no new connections, answers what has been asked for, and cuts what is left after `limitMs`. */
  close(limitMs: number): Promise<void>
  registerMetrics(registry: Registry): void
}

/** What all servers over sockets of Node share. */
export abstract class SocketServer<Listener extends NetServer> implements Server {
  abstract readonly name: string
  private listener: Listener | null = null
  private isAnnounced = false

  abstract registerMetrics(registry: Registry): void
  protected abstract createListener(tls: TlsOptions | null): Listener
  /** Called once, before `drain`: tells clients that their next response is the last, if the protocol can. */
  protected sayLast?(listener: Listener): void
  /** Lets connections end as they become idle. @returns what ends the waiting for it */
  protected abstract drain(listener: Listener, limitMs: number): () => void
  /** Ends all connections. */
  protected abstract cut(listener: Listener): void

  listen({ host, port, backlog, tls, onError }: ListenOptions): Promise<AddressInfo> {
    const listener = this.createListener(tls)
    this.listener = listener
    return new Promise((resolve, reject) => {
      listener.once('error', reject)
      listener.listen({ host, port, backlog }, () => {
        listener.removeListener('error', reject)
        listener.on('error', onError)
        resolve(listener.address() as AddressInfo)
      })
    })
  }

  useCertificates(tls: TlsOptions): void {
    if (this.listener instanceof TlsServer) this.listener.setSecureContext(tls)
  }

  announceClose(): void {
    if (this.isAnnounced || !this.listener?.listening) return
    this.isAnnounced = true
    this.sayLast?.(this.listener)
  }

  async close(limitMs: number): Promise<void> {
    const { listener } = this
    if (!listener?.listening) return
    this.announceClose()
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
    const endDraining = this.drain(listener, limitMs)
    const cut = setTimeout(() => this.cut(listener), limitMs)
    await closed
    clearTimeout(cut)
    endDraining()
  }
}
