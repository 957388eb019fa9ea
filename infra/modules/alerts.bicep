// What wakes a person. The queries read what the app logs: a line is the event's name, then its fields as JSON. Lines are
// sampled, so that they are counted by itemCount; executions (requests) are not.

param name string
param location string
param tags object
param insightsId string
param busId string
param email string
param latencyThresholds object
param backlogThreshold int
param failurePercent int
param refusalsInARow int
param silenceHours int

var groupIds = empty(email) ? [] : [actionGroup.id]
var groups = empty(email) ? [] : [{ actionGroupId: actionGroup.id }]

var byProvider = [{ name: 'provider', operator: 'Include', values: ['*'] }]
var byFunction = [{ name: 'operation_Name', operator: 'Include', values: ['*'] }]

// One row in the answer of a query is one alert; `column` is what is compared with the threshold.
var rules = [
  {
    name: 'executions-fail'
    severity: 1
    description: 'A function fails: its log has request.failed, request.not_set_up or inbox.put_back.'
    // A caller's mistake (4xx) is none of ours.
    query: '''
requests
| extend code = coalesce(toint(resultCode), 0)
| extend failed = code >= 500 or (success == false and (code < 400 or code > 499))
| summarize bad = sumif(itemCount, failed), executions = sum(itemCount) by operation_Name
| where executions >= 5
| project operation_Name, percent = 100.0 * bad / executions
'''
    column: 'percent'
    dimensions: byFunction
    operator: 'GreaterThan'
    threshold: failurePercent
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'deliveries-refused'
    severity: 1
    description: 'Nothing that a provider sent was verified since: is its signing secret the one in the vault?'
    // In a row: a busy provider's forged deliveries, between its own, wake nobody.
    query: '''
let seen = traces
| where message startswith "delivery.refused {" or message startswith "delivery.taken {"
| extend fields = parse_json(substring(message, indexof(message, "{")))
| project timestamp, itemCount, refused = message startswith "delivery.refused", provider = tostring(fields.provider);
seen
| where refused
| join kind=leftouter (seen | where not(refused) | summarize taken = max(timestamp) by provider) on provider
| where isnull(taken) or timestamp > taken
| summarize refusals = sum(itemCount) by provider
'''
    column: 'refusals'
    dimensions: byProvider
    operator: 'GreaterThanOrEqual'
    threshold: refusalsInARow
    window: 'PT1H'
    every: 'PT5M'
  }
  {
    name: 'provider-silent'
    severity: 2
    description: 'A provider that sent callbacks sends none: does it still know our address?'
    query: '''
traces
| where message startswith "delivery.taken {"
| extend fields = parse_json(substring(message, indexof(message, "{")))
| summarize taken = sum(itemCount), latest = max(timestamp) by provider = tostring(fields.provider)
| where taken >= 10
| project provider, hours = datetime_diff("hour", now(), latest)
'''
    column: 'hours'
    dimensions: byProvider
    operator: 'GreaterThanOrEqual'
    threshold: silenceHours
    window: 'P2D'
    every: 'PT1H'
  }
  {
    name: 'audit-unbalanced'
    severity: 0
    description: 'Accepted is not settled + open: a job may be lost. Keep the logs, and look at what was last deployed.'
    // Twice: the counts are read one after the other, and a job that moves between may show once.
    query: '''
traces
| where message startswith "audit.unbalanced {"
| summarize times = sum(itemCount)
'''
    column: 'times'
    dimensions: []
    operator: 'GreaterThanOrEqual'
    threshold: 2
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'audit-overdue'
    severity: 2
    description: 'Jobs were overdue, and got a new tick: was job-inbox emptied, or are there dead letters?'
    query: '''
traces
| where message startswith "audit.done {"
| extend fields = parse_json(substring(message, indexof(message, "{")))
| summarize overdue = max(toint(fields.overdue))
'''
    column: 'overdue'
    dimensions: []
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'audit-missing'
    severity: 0
    description: 'No audit has succeeded for half an hour: does the app start at all?'
    // Without `by` there is a row also where nothing ran.
    query: '''
requests
| where operation_Name == "audit" and success == true
| summarize done = count()
'''
    column: 'done'
    dimensions: []
    operator: 'LessThan'
    threshold: 1
    window: 'PT30M'
    every: 'PT5M'
  }
]

// Its threshold differs by provider, so that each gets a rule of its own.
var latencyQuery = '''
traces
| where message startswith "start.answered {" or message startswith "poll.answered {"
    or message startswith "start.unanswered {" or message startswith "poll.unanswered {"
| extend fields = parse_json(substring(message, indexof(message, "{")))
| project itemCount, provider = tostring(fields.provider), elapsed = toreal(fields.elapsed_ms)
| summarize answers = sum(itemCount), p95 = percentilew(elapsed, itemCount, 95) by provider
| where answers >= 5
'''

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: name
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'hookbus'
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

// A gauge: its maximum is what there was, and a total would count each dead letter once a minute.
resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'hookbus-dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'A message that no retry could help: the log\'s inbox.poison says why, or a consumer has left its outcomes.'
    enabled: true
    severity: 1
    scopes: [busId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-letters'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'DeadletteredMessages'
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [{ name: 'EntityName', operator: 'Include', values: ['*'] }]
        }
      ]
    }
    actions: groups
  }
}

// The minimum: so many were waiting all the time. Ticks that are not due yet are scheduled, and do not count.
resource backlog 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'hookbus-backlog'
  location: 'global'
  tags: tags
  properties: {
    description: 'Messages wait in job-inbox: advance_job is slower than they come, or fails.'
    enabled: true
    severity: 2
    scopes: [busId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'backlog'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'ActiveMessages'
          timeAggregation: 'Minimum'
          operator: 'GreaterThan'
          threshold: backlogThreshold
          dimensions: [{ name: 'EntityName', operator: 'Include', values: ['job-inbox'] }]
        }
      ]
    }
    actions: groups
  }
}

resource logAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: 'hookbus-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'hookbus-${rule.name}'
    description: rule.description
    enabled: true
    severity: rule.severity
    scopes: [insightsId]
    evaluationFrequency: rule.every
    windowSize: rule.window
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: rule.query
          metricMeasureColumn: rule.column
          timeAggregation: 'Maximum'
          dimensions: rule.dimensions
          operator: rule.operator
          threshold: rule.threshold
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    actions: { actionGroups: groupIds }
  }
}]

resource latencyAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for one in items(latencyThresholds): {
  name: 'hookbus-slow-${one.key}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'hookbus-slow-${one.key}'
    description: '${one.key} answers slowly: its 95th percentile is above ${one.value} ms.'
    enabled: true
    severity: 2
    scopes: [insightsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: latencyQuery
          metricMeasureColumn: 'p95'
          timeAggregation: 'Maximum'
          dimensions: [{ name: 'provider', operator: 'Include', values: [one.key] }]
          operator: 'GreaterThan'
          threshold: one.value
          // Twice of three: one slow quarter of an hour is weather.
          failingPeriods: { numberOfEvaluationPeriods: 3, minFailingPeriodsToAlert: 2 }
        }
      ]
    }
    actions: { actionGroups: groupIds }
  }
}]
