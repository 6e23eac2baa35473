/** What the engine uses of WebAssembly; TypeScript has it only in the library for browsers. */
declare namespace WebAssembly {
  class Module {
    private readonly brand
    static imports(module: Module): { module: string; name: string; kind: string }[]
  }
  class Instance {
    readonly exports: Readonly<Record<string, unknown>>
    constructor(module: Module, imports: Record<string, Record<string, unknown>>)
  }
  class Memory {
    readonly buffer: ArrayBuffer
    constructor(limits: { initial: number; maximum: number })
  }
  class RuntimeError extends Error {}
  function compile(bytes: Uint8Array): Promise<Module>
}
