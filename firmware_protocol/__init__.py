"""The contract between gateway, lock firmware, phones and centre (docs/protocol.md). Sans-I/O.

Every module is public; read them in the order of the document: `cbor`, `schema`, `cose`, `signed`,
`vocabulary`, `tokens`, `commands`, `statements`, `orders`, `chains`; `fragments`, `hello`, `noise`,
`messages`, `session`, `relay`; `lock_log`, `merkle`, `checkpoint`, `topics`; `codes`, `constants`,
`errors`.
"""
