// aimock on the fixtures of a JSON file, until standard input closes.
//
//   node aimock.mjs FIXTURES.json
//
// Prints one line, {"url": "http://127.0.0.1:PORT"}, once it listens. The file holds {"fixtures": [...]} in aimock's
// own form; {"regex": "..."} may stand where a pattern may, which its command line can't read from a file, and
// "keys": [...] are the API keys it lets in. With "fill": {"NAME": "PATTERN"} beside a response, {NAME} in it is what
// the pattern's group captured in the messages last.

import { readFileSync } from 'node:fs'
import { LLMock } from '@copilotkit/aimock'

const { fixtures, keys } = JSON.parse(readFileSync(process.argv[2], 'utf8'))

const pattern = value => (typeof value?.regex === 'string' ? new RegExp(value.regex) : value)
const patterns = match => Object.fromEntries(Object.entries(match).map(([name, value]) => [name, pattern(value)]))

const mock = new LLMock({
  host: '127.0.0.1',
  port: 0,
  strict: true, // a request that no fixture is for fails loudly
  logLevel: 'warn',
  ...(keys && { auth: { apiKeys: keys } }),
})
const filled = (response, fill) => request => {
  const said = JSON.stringify(request.messages)
  let text = JSON.stringify(response)
  for (const [name, source] of Object.entries(fill)) {
    const found = [...said.matchAll(new RegExp(source, 'g'))].at(-1)
    text = text.replaceAll(`{${name}}`, found?.[1] ?? `no ${name}`)
  }
  const { toolCalls, ...rest } = JSON.parse(text)
  return { ...rest, toolCalls: toolCalls.map(call => ({ ...call, arguments: JSON.stringify(call.arguments) })) }
}
for (const { match, response, fill, ...options } of fixtures) {
  mock.on(patterns(match), fill ? filled(response, fill) : response, options)
}
await mock.start()
console.log(JSON.stringify({ url: mock.url }))

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
