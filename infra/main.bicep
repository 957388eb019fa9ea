targetScope = 'subscription'

// ---- what azd fills in

@minLength(1)
@maxLength(64)
@description('The azd environment: part of every name, and a tag on every resource.')
param environmentName string

@minLength(1)
@description('The region of every resource; it has to offer Flex Consumption.')
@metadata({ azd: { type: 'location' } })
param location string

@description('Who deploys. A person gets the roles that setting secrets and `python -m services` need; a pipeline gets none.')
param principalId string = ''

@allowed(['User', 'ServicePrincipal'])
@description('Whether a person or a pipeline deploys.')
param principalType string = 'User'

// ---- the service

@minLength(1)
@description('Which providers to serve, with commas between them. The default needs no account anywhere.')
param providers string = 'weather'

@description('Where third parties reach the app, if it has a domain of its own: https://HOST.')
param publicUrl string = ''

@description('Further app settings by name, as README.md lists them: PROVIDER_ACME__START_URL, MAX_WEBHOOK_BYTES. Never a secret.')
param settings object = {}

@minLength(1)
@description('Who consumes outcomes: each name gets a subscription of its own on the topic. Without one, outcomes reach nobody.')
param consumers array = ['outcomes']

@minValue(1)
@maxValue(3650)
@description('For how many days kept deliveries, orphaned callbacks and unreadable messages stay.')
param keepDays int = 30

@description('How long a repeated event is known as such, at most P7D: as long as the most patient sender tries (Stripe: 3 days).')
param duplicateWindow string = 'P3D'

@description('How long a message waits for its consumer before it is a dead letter.')
param messageLife string = 'P14D'

// ---- size

@allowed(['3.13', '3.12'])
@description('The version of Python that runs the app.')
param pythonVersion string = '3.13'

@allowed([512, 2048, 4096])
@description('Memory of an instance. 512 is the cheapest; what an instance costs grows with it.')
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
@description('How many requests one instance serves at once, before another is started.')
param httpConcurrency int = 16

@minValue(1)
@maxValue(1000)
@description('How many instances there are at most: the upper end of the bill.')
param maximumInstanceCount int = 100

@description('Instances that never go away, against cold starts: [{ name: \'http\', instanceCount: 1 }]. They cost around the clock.')
param alwaysReady array = []

@description('Spread instances and storage over zones. Decide before the first deployment: storage cannot be converted by a template.')
param zoneRedundant bool = false

@allowed(['Standard', 'Premium'])
@description('Premium can be closed to a network, takes larger messages, and costs some fifty times as much.')
param serviceBusSku string = 'Standard'

@description('Let the platform read how long the queue is, to scale by it. It needs the role Data Owner, far more than the app does.')
param scaleByQueueLength bool = false

// ---- network

@description('A virtual network: one fixed outbound address, and private endpoints for storage and vault (and Service Bus, when Premium).')
param vnetEnabled bool = false

@description('Addresses of the virtual network. Change them, and the two below, where it is to be peered with others.')
param vnetAddressPrefix string = '10.42.0.0/23'

@description('Addresses of the app: each instance takes one, and an update takes as many again.')
param appSubnetPrefix string = '10.42.0.0/24'

@description('Addresses of the private endpoints.')
param endpointSubnetPrefix string = '10.42.1.0/24'

@description('With the network: addresses, with commas between them, from which people still reach storage and vault, for example to set secrets.')
param operatorAddresses string = ''

// ---- watching

@description('Who is told by e-mail. Without an address the alerts only show in the portal.')
param alertEmail string = ''

@description('A provider\'s 95th percentile of answers, in ms, above which there is an alert. One threshold for each provider that is worth it.')
param latencyThresholds object = { weather: 2000 }

@minValue(1)
@description('How many messages may wait in job-inbox for 15 minutes.')
param backlogThreshold int = 1000

@minValue(1)
@maxValue(99)
@description('How many in a hundred executions of a function may fail within 15 minutes.')
param failurePercent int = 5

@minValue(1)
@description('How many deliveries of a provider may be refused in a row.')
param refusalsInARow int = 5

@minValue(1)
@maxValue(36)
@description('For how many hours a provider that had callbacks may send none.')
param silenceHours int = 12

@minValue(30)
@maxValue(730)
@description('For how many days logs stay; above 31 they cost.')
param logRetentionDays int = 31

@description('How many GB of logs a day are taken; after that the log alerts are blind until the next day. -1 is no limit.')
param logDailyCapGb int = 10

@description('Take over the vault that an earlier environment of this name and region left behind: its name is held for 90 days.')
param recoverVault bool = false

var abbrs = loadJsonContent('./abbreviations.json')
var resourceToken = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var functionAppName = '${abbrs.webSitesFunctions}hookbus-${resourceToken}'
var deploymentContainer = 'app-package-${take(functionAppName, 32)}-${take(resourceToken, 7)}'
var operatorId = principalType == 'User' ? principalId : ''
var allowedAddresses = empty(operatorAddresses) ? [] : split(replace(operatorAddresses, ' ', ''), ',')
// Storage and vault; without the network they are open to identities that have a role, for the app has no fixed address.
var defaultAction = vnetEnabled ? 'Deny' : 'Allow'
var publicNetworkAccess = vnetEnabled && empty(allowedAddresses) ? 'Disabled' : 'Enabled'
var isBusPrivate = vnetEnabled && serviceBusSku == 'Premium'

resource rg 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: '${abbrs.resourcesResourceGroups}${environmentName}'
  location: location
  tags: tags
}

module identity './modules/identity.bicep' = {
  name: 'identity'
  scope: rg
  params: {
    name: '${abbrs.managedIdentityUserAssignedIdentities}hookbus-${resourceToken}'
    location: location
    tags: tags
  }
}

module monitoring './modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: rg
  params: {
    name: '${abbrs.insightsComponents}${resourceToken}'
    workspaceName: '${abbrs.operationalInsightsWorkspaces}${resourceToken}'
    location: location
    tags: tags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
    appPrincipalId: identity.outputs.principalId
  }
}

module storage './modules/storage.bicep' = {
  name: 'storage'
  scope: rg
  params: {
    name: '${abbrs.storageStorageAccounts}${resourceToken}'
    location: location
    tags: tags
    deploymentContainer: deploymentContainer
    keepDays: keepDays
    zoneRedundant: zoneRedundant
    publicNetworkAccess: publicNetworkAccess
    defaultAction: defaultAction
    allowedAddresses: allowedAddresses
    appPrincipalId: identity.outputs.principalId
    operatorId: operatorId
  }
}

module vault './modules/vault.bicep' = {
  name: 'vault'
  scope: rg
  params: {
    name: '${abbrs.keyVaultVaults}${resourceToken}'
    location: location
    tags: tags
    recover: recoverVault
    publicNetworkAccess: publicNetworkAccess
    defaultAction: defaultAction
    allowedAddresses: allowedAddresses
    workspaceId: monitoring.outputs.workspaceId
    appPrincipalId: identity.outputs.principalId
    operatorId: operatorId
  }
}

module bus './modules/bus.bicep' = {
  name: 'bus'
  scope: rg
  params: {
    name: '${abbrs.serviceBusNamespaces}${resourceToken}'
    location: location
    tags: tags
    sku: serviceBusSku
    publicNetworkAccess: isBusPrivate ? 'Disabled' : 'Enabled'
    consumers: consumers
    duplicateWindow: duplicateWindow
    messageLife: messageLife
    workspaceId: monitoring.outputs.workspaceId
    appPrincipalId: identity.outputs.principalId
    scaleByQueueLength: scaleByQueueLength
    operatorId: operatorId
  }
}

module network './modules/network.bicep' = if (vnetEnabled) {
  name: 'network'
  scope: rg
  params: {
    name: '${abbrs.networkVirtualNetworks}${resourceToken}'
    natGatewayName: '${abbrs.networkNatGateways}${resourceToken}'
    publicIpName: '${abbrs.networkPublicIPAddresses}${resourceToken}'
    securityGroupName: '${abbrs.networkNetworkSecurityGroups}${resourceToken}'
    location: location
    tags: tags
    addressPrefix: vnetAddressPrefix
    appSubnetPrefix: appSubnetPrefix
    endpointSubnetPrefix: endpointSubnetPrefix
  }
}

module blobEndpoint './modules/endpoint.bicep' = if (vnetEnabled) {
  name: 'endpoint-blob'
  scope: rg
  params: {
    name: '${abbrs.networkPrivateEndpoints}blob-${resourceToken}'
    location: location
    tags: tags
    targetId: storage.outputs.id
    groupId: 'blob'
    zoneName: 'privatelink.blob.${environment().suffixes.storage}'
    vnetId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module tableEndpoint './modules/endpoint.bicep' = if (vnetEnabled) {
  name: 'endpoint-table'
  scope: rg
  params: {
    name: '${abbrs.networkPrivateEndpoints}table-${resourceToken}'
    location: location
    tags: tags
    targetId: storage.outputs.id
    groupId: 'table'
    zoneName: 'privatelink.table.${environment().suffixes.storage}'
    vnetId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module vaultEndpoint './modules/endpoint.bicep' = if (vnetEnabled) {
  name: 'endpoint-vault'
  scope: rg
  params: {
    name: '${abbrs.networkPrivateEndpoints}vault-${resourceToken}'
    location: location
    tags: tags
    targetId: vault.outputs.id
    groupId: 'vault'
    zoneName: 'privatelink.vaultcore.azure.net'
    vnetId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module busEndpoint './modules/endpoint.bicep' = if (isBusPrivate) {
  name: 'endpoint-bus'
  scope: rg
  params: {
    name: '${abbrs.networkPrivateEndpoints}bus-${resourceToken}'
    location: location
    tags: tags
    targetId: bus.outputs.id
    groupId: 'namespace'
    zoneName: 'privatelink.servicebus.windows.net'
    vnetId: network!.outputs.id
    subnetId: network!.outputs.endpointSubnetId
  }
}

module app './modules/app.bicep' = {
  name: 'app'
  scope: rg
  params: {
    name: functionAppName
    planName: '${abbrs.webServerFarms}${resourceToken}'
    location: location
    tags: tags
    // azd finds the app of a service by this tag.
    serviceTags: union(tags, { 'azd-service-name': 'hookbus' })
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    insightsConnectionString: monitoring.outputs.connectionString
    blobEndpoint: storage.outputs.blobEndpoint
    tableEndpoint: storage.outputs.tableEndpoint
    deploymentContainer: deploymentContainer
    vaultUri: vault.outputs.uri
    busHost: bus.outputs.host
    publicUrl: empty(publicUrl) ? 'https://${functionAppName}.azurewebsites.net' : publicUrl
    providers: providers
    keepDays: keepDays
    settings: settings
    subnetId: vnetEnabled ? network!.outputs.appSubnetId : ''
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    httpConcurrency: httpConcurrency
    maximumInstanceCount: maximumInstanceCount
    alwaysReady: alwaysReady
    zoneRedundant: zoneRedundant
  }
  // Where storage is closed, the app cannot read its own package before these stand.
  dependsOn: [
    blobEndpoint
    tableEndpoint
    vaultEndpoint
    busEndpoint
  ]
}

module alerts './modules/alerts.bicep' = {
  name: 'alerts'
  scope: rg
  params: {
    name: '${abbrs.insightsActionGroups}${resourceToken}'
    location: location
    tags: tags
    insightsId: monitoring.outputs.id
    busId: bus.outputs.id
    email: alertEmail
    latencyThresholds: latencyThresholds
    backlogThreshold: backlogThreshold
    failurePercent: failurePercent
    refusalsInARow: refusalsInARow
    silenceHours: silenceHours
  }
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = rg.name
output AZURE_FUNCTION_NAME string = app.outputs.name
output AZURE_KEY_VAULT_NAME string = vault.outputs.name
output AZURE_SERVICEBUS_NAME string = bus.outputs.name
output SERVICE_HOOKBUS_NAME string = app.outputs.name

@description('From where requests reach third parties, for their allow-lists; empty without the network.')
output OUTBOUND_IP string = vnetEnabled ? network!.outputs.outboundAddress : ''

// The app's own names, so that `azd env get-values` is what `python -m services` reads.
output JOB_STORE string = storage.outputs.tableEndpoint
output PAYLOAD_STORE string = storage.outputs.blobEndpoint
output SECRET_SOURCE string = vault.outputs.uri
output SERVICEBUS__fullyQualifiedNamespace string = bus.outputs.host
output PUBLIC_URL string = app.outputs.publicUrl
output PROVIDERS string = providers
