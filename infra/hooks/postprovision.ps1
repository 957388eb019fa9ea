# Makes the one secret that is nobody else's, where it is missing: the key behind the tokens in callback addresses. Its
# value is on no command line and in no output. Never fails: `azd hooks run postprovision` runs it again.

if ($env:CI -or $env:TF_BUILD) {
    Write-Output 'A pipeline sets no secrets: whoever provisioned first has.'
    exit 0
}
$vault = $env:AZURE_KEY_VAULT_NAME
if (-not (Get-Command az -ErrorAction SilentlyContinue)) {
    Write-Output "Without the Azure CLI no secrets can be set in ${vault}: docs/deploy.md"
    exit 0
}

# The role for the vault is a minute old, and takes about that long to hold everywhere.
for ($try = 1; ; $try++) {
    $names = az keyvault secret list --vault-name $vault --query '[].name' --output tsv
    if ($LASTEXITCODE -eq 0) { break }
    if ($try -ge 12) {
        Write-Output "The vault $vault cannot be read (az login? OPERATOR_ADDRESSES?). Then: azd hooks run postprovision"
        exit 0
    }
    Start-Sleep -Seconds 10
}

if ($names -notcontains 'callback-token-key') {
    $bytes = [byte[]]::new(48)
    $random = [Security.Cryptography.RandomNumberGenerator]::Create()
    $random.GetBytes($bytes)
    $file = New-TemporaryFile
    try {
        [IO.File]::WriteAllText($file, [Convert]::ToBase64String($bytes))
        az keyvault secret set --vault-name $vault --name callback-token-key --file $file --output none
    }
    finally {
        Remove-Item $file
    }
    if ($LASTEXITCODE -ne 0) {
        Write-Output "callback-token-key could not be set in $vault. Then: azd hooks run postprovision"
        exit 0
    }
    Write-Output "callback-token-key was made, in $vault"
}
Write-Output "Set the secrets of your providers ($env:PROVIDERS) in $vault as docs/deploy.md shows."
