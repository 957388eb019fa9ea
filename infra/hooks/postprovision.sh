#!/bin/sh
# Makes the one secret that is nobody else's, where it is missing: the key behind the tokens in callback addresses. Its
# value is on no command line and in no output. Never fails: `azd hooks run postprovision` runs it again.
set -eu

if [ -n "${CI:-}${TF_BUILD:-}" ]; then
  echo 'A pipeline sets no secrets: whoever provisioned first has.'
  exit 0
fi
vault="${AZURE_KEY_VAULT_NAME:?run me by azd hooks run postprovision}"
command -v az >/dev/null || { echo "Without the Azure CLI no secrets can be set in $vault: docs/deploy.md"; exit 0; }

# The role for the vault is a minute old, and takes about that long to hold everywhere.
tries=1
until names="$(az keyvault secret list --vault-name "$vault" --query '[].name' --output tsv)"; do
  if [ "$tries" -ge 12 ]; then
    echo "The vault $vault cannot be read (az login? OPERATOR_ADDRESSES?). Then: azd hooks run postprovision"
    exit 0
  fi
  tries=$((tries + 1))
  sleep "${HOOK_PAUSE:-10}"
done

if ! printf '%s\n' "$names" | grep -qx callback-token-key; then
  if openssl rand -base64 48 | tr -d '\n' |
    az keyvault secret set --vault-name "$vault" --name callback-token-key --file /dev/stdin --output none; then
    echo "callback-token-key was made, in $vault"
  else
    echo "callback-token-key could not be set in $vault. Then: azd hooks run postprovision"
    exit 0
  fi
fi
echo "Set the secrets of your providers (${PROVIDERS:-}) in $vault as docs/deploy.md shows."
