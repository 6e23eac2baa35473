// A real Chromium for tests: CHROMIUM_BIN, or one of the usual names on PATH.
//
// Each launch has a fresh profile in a temporary folder, which playwright removes, as it ends the browser, when it is
// closed or when this process ends. Nothing is downloaded: playwright-core comes without browsers.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const FLAGS = [
  '--headless',
  '--no-sandbox', // in a container, and as root, there is none
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Where Chromium is, or why the tests that need it are skipped. */
export function findChromium(): { path: string; missing: null } | { path: null; missing: string } {
  const named = process.env.CHROMIUM_BIN
  if (named) {
    if (isExecutable(named)) return { path: named, missing: null }
    throw new Error(`CHROMIUM_BIN is ${named}, and there is no program to run.`)
  }
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  const path = folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable)
  if (path !== undefined) return { path, missing: null }
  return { path: null, missing: 'no chromium on PATH; install it, or set CHROMIUM_BIN' }
}

export function launchChromium(path: string): Promise<Browser> {
  return chromium.launch({ executablePath: path, args: FLAGS })
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
