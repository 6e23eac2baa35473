/** Promises around a node's data path: those of the contract. */
export * from '../../src/library/node-contract/calls.ts'
