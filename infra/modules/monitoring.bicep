param name string
param workspaceName string
param location string
param tags object
param retentionDays int
param dailyCapGb int
param appPrincipalId string

// Monitoring Metrics Publisher: with local authentication off, the host sends its telemetry with the app's identity.
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    workspaceCapping: { dailyQuotaGb: dailyCapGb }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

resource publishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'hookbus')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Hookbus'
    category: 'workbook'
    sourceId: insights.id
    // Its queries ask this component; the file does not know which one that will be.
    serializedData: replace(loadTextContent('../workbook.json'), 'INSIGHTS_ID', insights.id)
  }
}

output id string = insights.id
output workspaceId string = workspace.id
// With local authentication off this is an address, and opens nothing.
output connectionString string = insights.properties.ConnectionString
