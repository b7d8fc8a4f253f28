"""The gateway: unchanged SDKs reach a troupe by changing their base URL."""
