/** What core/token.ts uses of the package, which comes without types. */
declare module 'murmurhash3js-revisited' {
  const murmur: {
    /** Look at every byte before hashing, and answer `undefined` when one is none. On by default. */
    inputValidation: boolean
    x86: {
      /** MurmurHash3_x86_32, as uint32. */
      hash32(bytes: Uint8Array, seed?: number): number
    }
    x64: {
      /** MurmurHash3_x64_128, as 32 hex digits. */
      hash128(bytes: Uint8Array, seed?: number): string
    }
  }
  export default murmur
}
