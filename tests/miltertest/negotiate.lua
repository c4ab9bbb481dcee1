-- What the gateway asks for in each version, and that each version carries a message.
for version = 2, 6 do
  local conn = open()
  ok("negotiation", mt.negotiate(conn, version, nil, nil))
  for _, action in ipairs({SMFIF_ADDHDRS, SMFIF_CHGBODY, SMFIF_ADDRCPT, SMFIF_DELRCPT, SMFIF_CHGHDRS, SMFIF_QUARANTINE}) do
    want("action " .. action, mt.test_action(conn, action), true)
  end
  for _, step in ipairs({SMFIP_NOCONNECT, SMFIP_NOHELO, SMFIP_NOMAIL, SMFIP_NORCPT, SMFIP_NOHDRS, SMFIP_NOEOH, SMFIP_NOBODY}) do
    want("declined step " .. step, mt.test_option(conn, step), false)
  end
  for _, step in ipairs({SMFIP_NR_CONN, SMFIP_NR_HDR, SMFIP_NR_BODY, SMFIP_HDR_LEADSPC}) do
    want("step " .. step, mt.test_option(conn, step), true)
  end
  want("waits at RCPT", mt.test_option(conn, SMFIP_NR_RCPT), false)
  greet(conn)
  message(conn, "accept", SMFIR_ACCEPT)
  mt.disconnect(conn)
end

-- An MTA that offers no steps at all waits after every command and gets its answer. Steps go before actions, whatever
-- miltertest(8) says.
local conn = open()
ok("negotiation", mt.negotiate(conn, 6, 0, 511))
want("waits at headers", mt.test_option(conn, SMFIP_NR_HDR), false)
greet(conn)
envelope(conn, "accept")
replies(conn, "DATA", mt.data(conn), SMFIR_CONTINUE)
replies(conn, "unknown command", mt.unknown(conn, "XYZZY"), SMFIR_CONTINUE)
replies(conn, "header", mt.header(conn, "Subject", "hello"), SMFIR_CONTINUE)
replies(conn, "end of headers", mt.eoh(conn), SMFIR_CONTINUE)
replies(conn, "body", mt.bodystring(conn, "hello\r\n"), SMFIR_CONTINUE)
replies(conn, "end of message", mt.eom(conn), SMFIR_ACCEPT)
mt.disconnect(conn)
