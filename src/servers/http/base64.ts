/** Strict base64 decoding: Node's decoder skips invalid characters. */
const EQUALS = 0x3d

/** Null = not valid base64, padded or not. Takes linear time for any input. */
export function decodeBase64(text: string, encoding: 'base64' | 'base64url'): Buffer | null {
  const bare = withoutPadding(text)
  if (bare.length < text.length && text.length % 4 !== 0) return null
  const bytes = Buffer.from(bare, encoding)
  return withoutPadding(bytes.toString(encoding)) === bare ? bytes : null
}

/** At most two. */
function withoutPadding(text: string): string {
  let end = text.length
  while (end > text.length - 2 && text.charCodeAt(end - 1) === EQUALS) end--
  return text.slice(0, end)
}
