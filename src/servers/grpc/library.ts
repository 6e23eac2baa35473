/** The packages of gRPC, loaded when the server listens: a program without gRPC has none of them in its memory. */
import type * as Grpc from '@grpc/grpc-js'
import type * as Loader from '@grpc/proto-loader'
import type * as Reflection from '@grpc/reflection'

export interface Library
  extends
    Pick<typeof Grpc, 'Metadata' | 'Server' | 'ServerCredentials' | 'ServerInterceptingCall'>,
    Pick<typeof Loader, 'loadSync'>,
    Pick<typeof Reflection, 'ReflectionService'> {}

export async function loadLibrary(): Promise<Library> {
  const { Metadata, Server, ServerCredentials, ServerInterceptingCall } = await import('@grpc/grpc-js')
  const { loadSync } = await import('@grpc/proto-loader')
  const { ReflectionService } = await import('@grpc/reflection')
  return { Metadata, Server, ServerCredentials, ServerInterceptingCall, loadSync, ReflectionService }
}
