"""The headers that every response carries, and what the on-device page adds to them."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    # Under no-referrer, browsers would hide the origin of our own forms from us too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

#: What the on-device page may do: run its own scripts and WebAssembly, and send requests to its own server alone.
DEVICE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' data: blob:; manifest-src 'self'; form-action 'none'; base-uri 'none'"
)
DEVICE_HEADERS = {
    "Content-Security-Policy": f"{DEVICE_POLICY}; frame-ancestors 'none'",
    # With the opener policy that every page has, it isolates the page from other sites, so that it may use threads.
    "Cross-Origin-Embedder-Policy": "require-corp",
}

#: What the page's service worker gives to the files that it stores, wherever the page was served from.
STORED_HEADERS = {name: text for name, text in (HEADERS | DEVICE_HEADERS).items() if name != "Cache-Control"}
