import js from '@eslint/js'
import { defineConfig, globalIgnores } from 'eslint/config'
import importX from 'eslint-plugin-import-x'
import tseslint from 'typescript-eslint'

// The rooms of src, from the top of the house to its floor. Arrows point down only.
const rooms = [
  'main',
  'health-check',
  'index',
  'workers',
  'rondo',
  'certificates',
  'telemetry',
  'config',
  'doors',
  'coordinator',
  'repair',
  'cluster',
  'nodes',
  'core',
]
const roomPath = (room) =>
  ['main', 'program', 'health-check', 'certificates', 'telemetry', 'config'].includes(room)
    ? `./src/${room}.ts`
    : `./src/${room}`

// Every room must not import from a room above it; config and telemetry belong to main alone.
const arrows = rooms.flatMap((room, level) =>
  level === 0
    ? []
    : [
        {
          target: roomPath(room),
          from: [...rooms.slice(0, level), ...(room === 'telemetry' ? ['config'] : [])].map(roomPath),
          message: 'Arrows point down only: main → doors → coordinator → repair → cluster → nodes → core.',
        },
      ],
)

const doors = ['http', 'resp', 'grpc', 'dashboard']
const sideways = doors.map((door) => ({
  target: `./src/doors/${door}`,
  from: doors
    .filter((other) => other !== door && other !== 'dashboard')
    .map((other) => `./src/doors/${other}`),
  message: 'A door does not import another door.',
}))

export default defineConfig(
  globalIgnores(['dist', 'coverage']),
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked, tseslint.configs.stylisticTypeChecked],
    plugins: { 'import-x': importX },
    languageOptions: { parserOptions: { projectService: true } },
    settings: {
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/resolver-next': [importX.createNodeResolver({ extensions: ['.ts', '.js'] })],
    },
    rules: {
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { zones: [...arrows, ...sideways] }],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      'no-empty': ['error', { allowEmptyCatch: false }],
      eqeqeq: 'error',
    },
  },
  {
    // core is pure: time and chance are passed in, and nothing is read or sent.
    files: ['src/core/**/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: '^node:(?!buffer)', message: 'core/ does no I/O.' }] },
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Pass chance in.' },
        { object: 'Date', property: 'now', message: 'Pass a Clock in.' },
        { object: 'performance', property: 'now', message: 'Pass a Clock in.' },
      ],
      'no-restricted-globals': [
        'error',
        'setTimeout',
        'setInterval',
        'setImmediate',
        'Date',
        'process',
        'fetch',
      ],
    },
  },
  {
    // Lower rooms run on a virtual clock in the simulation: no ambient time, chance or environment.
    files: ['src/nodes/**/*.ts', 'src/cluster/**/*.ts', 'src/repair/**/*.ts', 'src/coordinator/**/*.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Pass chance in.' },
        { object: 'Date', property: 'now', message: 'Pass a Clock in.' },
        { object: 'performance', property: 'now', message: 'Pass a Clock in.' },
        { object: 'process', property: 'env', message: 'Only config/config.ts reads the environment.' },
      ],
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'setImmediate', 'Date'],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-unused-expressions': 'off' }, // chai: expect(x).to.be.true
  },
  {
    files: ['scripts/**/*.mjs', 'bench/**/*.mjs', 'eslint.config.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } },
  },
)
