import { HalfSipHash } from '../../../core/half-sip-hash.ts'

/**
 * The place of a field in a large hash depends on it. Its key is the collection's generation, which no client knows: nobody
 * can choose fields that all go to one part. Part of the format (root.ts): final.
 */
export class FieldHash extends HalfSipHash {}
