/** What every error of the HTTP server looks like. */
import { expect } from 'chai'
import type { RawAnswer } from './raw-http.ts'

export function expectProblem(answer: RawAnswer, status: number, code: string, what?: string): void {
  expect(answer.status, what ?? answer.text).to.equal(status)
  expect(answer.headers['content-type'], what).to.equal('application/problem+json; charset=utf-8')
  const { type, title, error, requestId, ...rest } = answer.json()
  expect(rest, what).to.include({ status, code })
  expect(type, what).to.equal('about:blank')
  expect(title, what).to.be.a('string').and.not.equal('')
  expect(error, what).to.match(/\S.*\w/)
  expect(requestId, what).to.equal(answer.headers['x-request-id'])
}
