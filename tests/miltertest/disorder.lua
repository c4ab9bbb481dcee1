-- What breaks the order of the protocol costs the connection.
mt.set_timeout(5)

local function refused(what, conn, problem)
  if problem == nil then
    -- A command that no reply is read for: the connection is closed behind it.
    problem = mt.helo(conn, "again")
  end
  want(what .. " is refused", type(problem), "string")
  mt.disconnect(conn, false)
end

local conn = open()
ok("negotiation", mt.negotiate(conn, 6, nil, nil))
refused("a second negotiation", conn, mt.negotiate(conn, 6, nil, nil))

conn = open()
refused("version 1", conn, mt.negotiate(conn, 1, nil, nil))

conn = open()
greet(conn)
envelope(conn, "aborted")
content(conn)
refused("RCPT after the body", conn, mt.rcptto(conn, "<late@recipient.example>"))

conn = open()
greet(conn)
message(conn, "after", SMFIR_ACCEPT)
mt.disconnect(conn)
