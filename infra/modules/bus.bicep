// The entities of dev/entities.json, with a production's times; tests/infra compares the two.

param name string
param location string
param tags object
param sku string
param publicNetworkAccess string
param consumers array
param duplicateWindow string
param messageLife string
param workspaceId string
param appPrincipalId string
param scaleByQueueLength bool
param operatorId string

var sender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39' // Azure Service Bus Data Sender
var receiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0' // Azure Service Bus Data Receiver
var owner = '090c5cfd-751d-490a-894a-3ce6f1109419' // Azure Service Bus Data Owner
// A person sends (an audit's new ticks), and receives (a look into the dead letters of any entity).
var operatorRoles = [sender, receiver]

// Standard cannot be closed to a network: what guards it is that there are no keys, only identities.
resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? 1 : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

// No partitions: a partitioned entity with duplicate detection refuses batches of several ids.
// https://github.com/Azure/azure-sdk-for-python/issues/21955
resource inboxQueue 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: namespace
  name: 'job-inbox'
  properties: {
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: messageLife
    duplicateDetectionHistoryTimeWindow: duplicateWindow
    enablePartitioning: false
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    maxSizeInMegabytes: 5120
    requiresDuplicateDetection: true
    requiresSession: false
  }
}

resource events 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = {
  parent: namespace
  name: 'job-events'
  properties: {
    defaultMessageTimeToLive: messageLife
    duplicateDetectionHistoryTimeWindow: duplicateWindow
    enablePartitioning: false
    maxSizeInMegabytes: 5120
    requiresDuplicateDetection: true
  }
}

resource inbox 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = {
  parent: events
  name: 'inbox'
  properties: {
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: messageLife
    forwardTo: inboxQueue.name
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    requiresSession: false
  }
}

// $Default: a subscription is made with a rule of this name that takes everything, and this takes its place.
resource callbacks 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = {
  parent: inbox
  name: '$Default'
  properties: {
    filterType: 'CorrelationFilter'
    correlationFilter: { properties: { kind: 'callback' } }
  }
}

resource consumer 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = [for who in consumers: {
  parent: events
  name: who
  properties: {
    deadLetteringOnMessageExpiration: true
    defaultMessageTimeToLive: messageLife
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    requiresSession: false
  }
}]

resource outcomes 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = [for (who, index) in consumers: {
  parent: consumer[index]
  name: '$Default'
  properties: {
    filterType: 'CorrelationFilter'
    correlationFilter: { properties: { kind: 'outcome' } }
  }
}]

// Who changed an entity.
resource changes 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'operations'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [{ category: 'OperationalLogs', enabled: true }]
  }
}

// The app publishes to the topic, and schedules and takes messages of the queue: no role for the namespace.
resource appPublishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(events.id, appPrincipalId, sender)
  scope: events
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sender)
  }
}

resource appSchedules 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(inboxQueue.id, appPrincipalId, sender)
  scope: inboxQueue
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sender)
  }
}

resource appTakes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(inboxQueue.id, appPrincipalId, receiver)
  scope: inboxQueue
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', receiver)
  }
}

resource appManages 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (scaleByQueueLength) {
  name: guid(inboxQueue.id, appPrincipalId, owner)
  scope: inboxQueue
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', owner)
  }
}

resource operatorMay 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in (empty(operatorId) ? [] : operatorRoles): {
  name: guid(namespace.id, operatorId, role)
  scope: namespace
  properties: {
    principalId: operatorId
    principalType: 'User'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

output id string = namespace.id
output name string = namespace.name
output host string = '${namespace.name}.servicebus.windows.net'
