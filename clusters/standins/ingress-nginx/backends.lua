-- Which endpoint answers a request. The list of endpoints changes without a reload, so that connections stay open.
local cjson = require "cjson.safe"
local balancer = require "ngx.balancer"
local M = {}

function M.replace()
  ngx.req.read_body()
  local lists = cjson.decode(ngx.req.get_body_data() or "")
  if not lists then return ngx.exit(400) end
  local dict = ngx.shared.backends
  for _, key in ipairs(dict:get_keys(0)) do
    if not lists[key] then dict:delete(key) end
  end
  for key, peers in pairs(lists) do dict:set(key, cjson.encode(peers)) end
  ngx.exit(204)
end

-- Before the balancer: no endpoint is 503 at once, as in the upstream controller.
function M.require_peer()
  local peers = cjson.decode(ngx.shared.backends:get(ngx.var.backend) or "[]")
  if not peers or #peers == 0 then return ngx.exit(503) end
  ngx.ctx.peers = peers
  ngx.ctx.turn = math.random(#peers)
end

-- A connection that fails is tried again on the next endpoint (proxy_next_upstream).
function M.balance()
  local peers = ngx.ctx.peers
  if not ngx.ctx.tried then
    ngx.ctx.tried = true
    if #peers > 1 then balancer.set_more_tries(math.min(#peers, 3) - 1) end
  else
    ngx.ctx.turn = ngx.ctx.turn % #peers + 1
  end
  local peer = peers[ngx.ctx.turn]
  balancer.set_current_peer(peer[1], peer[2])
end

return M
