-- What all scripts use. `socket` is given by the test.
function want(what, got, expected)
  if got ~= expected then
    -- miltertest ends without a word.
    mt.echo("SURPRISE " .. what .. ": got " .. tostring(got) .. ", not " .. tostring(expected))
    error(what)
  end
end

function ok(what, problem)
  want(what, problem, nil)
end

function replies(conn, what, problem, reply)
  ok(what, problem)
  want(what .. ", reply", mt.getreply(conn), reply)
end

function edited(conn, ...)
  want("edit " .. table.concat({...}, " "), mt.eom_check(conn, ...), true)
end

function open()
  local conn = mt.connect(socket, 40, 0.1)
  want("connected", conn ~= nil, true)
  return conn
end

-- From CONNECT to HELO.
function greet(conn)
  mt.macro(conn, SMFIC_CONNECT, "j", "mx.recipient.example", "{daemon_name}", "smtpd")
  replies(conn, "CONNECT", mt.conninfo(conn, "mail.shop.example", "192.0.2.7"), SMFIR_CONTINUE)
  replies(conn, "HELO", mt.helo(conn, "mail.shop.example"), SMFIR_CONTINUE)
end

-- MAIL and one RCPT; what is asked at the end is named by the sender.
function envelope(conn, sender)
  replies(conn, "MAIL", mt.mailfrom(conn, "<" .. sender .. "@shop.example>", "SIZE=100"), SMFIR_CONTINUE)
  mt.macro(conn, SMFIC_RCPT, "i", "4" .. sender)
  replies(conn, "RCPT", mt.rcptto(conn, "<reader@recipient.example>"), SMFIR_CONTINUE)
end

-- miltertest itself puts the space before a value where that was negotiated.
function content(conn)
  ok("From", mt.header(conn, "From", "anna@shop.example"))
  ok("Subject", mt.header(conn, "Subject", "hello"))
  ok("end of headers", mt.eoh(conn))
  ok("body", mt.bodystring(conn, "hello\r\n"))
end

function message(conn, sender, reply)
  envelope(conn, sender)
  content(conn)
  replies(conn, "end of message of " .. sender, mt.eom(conn), reply)
end
