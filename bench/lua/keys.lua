-- Loaded once: `require "keys"` is a module that knows one key by its SHA-256.
--
-- known(secret)  returns the account of the key, or nil

local ffi = require "ffi"

ffi.cdef "unsigned char *SHA256(const unsigned char *data, size_t size, unsigned char *digest);"

local digest = ffi.new("unsigned char[32]")

local function sha256(text)
    ffi.C.SHA256(text, #text, digest)
    return ffi.string(digest, 32)
end

local accounts = { [sha256(os.getenv("BENCH_KEY"))] = "acct_1" }

return {
    known = function(secret)
        return accounts[sha256(secret)]
    end,
}
