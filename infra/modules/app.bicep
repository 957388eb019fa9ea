param name string
param planName string
param location string
param tags object
param serviceTags object
param identityId string
param identityClientId string
param insightsConnectionString string
param blobEndpoint string
param tableEndpoint string
param deploymentContainer string
param vaultUri string
param busHost string
param publicUrl string
param providers string
param keepDays int
param settings object
param subnetId string
param pythonVersion string
param instanceMemoryMB int
param httpConcurrency int
param maximumInstanceCount int
param alwaysReady array
param zoneRedundant bool

// A connection by a user-assigned identity takes an address, a kind and an id; tests/infra compares them with what the app reads.
var ownSettings = [
  { name: 'AzureWebJobsStorage__blobServiceUri', value: blobEndpoint }
  { name: 'AzureWebJobsStorage__tableServiceUri', value: tableEndpoint }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identityClientId }
  { name: 'SERVICEBUS__fullyQualifiedNamespace', value: busHost }
  { name: 'SERVICEBUS__credential', value: 'managedidentity' }
  { name: 'SERVICEBUS__clientId', value: identityClientId }
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insightsConnectionString }
  { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'ClientId=${identityClientId};Authorization=AAD' }
  { name: 'AZURE_CLIENT_ID', value: identityClientId }
  { name: 'JOB_STORE', value: tableEndpoint }
  { name: 'PAYLOAD_STORE', value: blobEndpoint }
  { name: 'SECRET_SOURCE', value: vaultUri }
  { name: 'PUBLIC_URL', value: publicUrl }
  { name: 'PROVIDERS', value: providers }
  { name: 'KEEP_DELIVERIES_DAYS', value: string(keepDays) }
]
var furtherSettings = [for setting in items(settings): { name: setting.key, value: setting.value }]

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  // checkov:skip=CKV_AZURE_225:zones are a parameter: not every region has them
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_212:Flex Consumption starts from none; instances that never go away are a parameter
  // checkov:skip=CKV_AZURE_222:third parties send their webhooks from the internet, and each is verified
  // checkov:skip=CKV_AZURE_17:senders of webhooks have no client certificates
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no platform health check; /api/health serves probes from outside
  name: name
  location: location
  tags: serviceTags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${blobEndpoint}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: { http: { perInstanceConcurrency: httpConcurrency } }
      }
    }
    siteConfig: {
      ftpsState: 'Disabled'
      http20Enabled: true
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      appSettings: concat(ownSettings, furtherSettings)
    }
  }
}

output name string = app.name
output publicUrl string = publicUrl
