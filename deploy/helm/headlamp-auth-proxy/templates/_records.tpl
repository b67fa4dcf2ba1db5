{{- /* What the proxy writes down of people, audit and recordings: the same flags, volumes and mounts
       whichever way it runs. Each is a list as YAML, empty where it is off. */ -}}

{{- /* The audit policy as it is given, or the chart's own. */ -}}
{{- define "headlamp-auth-proxy.auditPolicy" -}}
{{- $policy := .Values.audit.policy }}
{{- if not $policy }}
{{- .Files.Get "files/audit-policy.yaml" }}
{{- else if kindIs "string" $policy }}
{{- $policy }}
{{- else }}
{{- toYaml $policy }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.recordFlags" -}}
{{- with .Values.audit }}
{{- if .enabled }}
- --audit-policy-file=/run/auth-proxy/audit-policy/policy.yaml
{{- with .log }}
{{- if .path }}
- {{ printf "--audit-log-path=%s" .path | quote }}
{{- end }}
{{- if hasPrefix "/" .path }}
- --audit-log-maxsize={{ int64 .maxSize }}
- --audit-log-maxage={{ int64 .maxAge }}
- --audit-log-maxbackup={{ int64 .maxBackups }}
{{- end }}
{{- end }}
{{- if .webhook.existingSecret }}
- {{ printf "--audit-webhook-config-file=/run/auth-proxy/audit-webhook/%s" .webhook.key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.recordings }}
{{- if .enabled }}
- --record-sessions=/recordings
- --record-sessions-failure={{ .failure }}
- --record-sessions-max-bytes={{ int64 .maxBytes }}
{{- end }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.recordVolumes" -}}
{{- with .Values.audit }}
{{- if .enabled }}
- name: auth-proxy-audit-policy
  configMap:
    name: {{ include "headlamp-auth-proxy.fullname" $ }}-audit
{{- if hasPrefix "/" .log.path }}
- name: auth-proxy-audit-log
  {{- include "headlamp-auth-proxy.recordVolume" .log | nindent 2 }}
{{- end }}
{{- with .webhook.existingSecret }}
- name: auth-proxy-audit-webhook
  secret:
    secretName: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.recordings }}
{{- if .enabled }}
- name: auth-proxy-recordings
  {{- include "headlamp-auth-proxy.recordVolume" . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.recordVolume" -}}
{{- if .existingClaim -}}
persistentVolumeClaim:
  claimName: {{ .existingClaim | quote }}
{{- else -}}
emptyDir:
  sizeLimit: {{ .sizeLimit }}
{{- end }}
{{- end }}

{{- /* Whole volumes: a mount with a subPath would never see the files change. */ -}}
{{- define "headlamp-auth-proxy.recordMounts" -}}
{{- with .Values.audit }}
{{- if .enabled }}
- name: auth-proxy-audit-policy
  mountPath: /run/auth-proxy/audit-policy
  readOnly: true
{{- if hasPrefix "/" .log.path }}
- name: auth-proxy-audit-log
  mountPath: {{ dir .log.path | quote }}
{{- end }}
{{- if .webhook.existingSecret }}
- name: auth-proxy-audit-webhook
  mountPath: /run/auth-proxy/audit-webhook
  readOnly: true
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.recordings.enabled }}
- name: auth-proxy-recordings
  mountPath: /recordings
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.recordNotes" -}}
{{- with .Values.audit }}
{{- if .enabled }}

Audited, as ConfigMap {{ include "headlamp-auth-proxy.fullname" $ }}-audit says:
{{- with .log }}
{{- if hasPrefix "/" .path }}
  to {{ .path }}, {{ if .existingClaim }}on the claim {{ .existingClaim }}{{ else }}in the pod, and gone with it (audit.log.existingClaim keeps it){{ end }}
{{- else if .path }}
  to the standard output of the container auth-proxy
{{- end }}
{{- end }}
{{- with .webhook.existingSecret }}
  to the webhook of Secret {{ . }}
{{- end }}
{{- else if .policy }}

WARNING: audit.policy is given, but audit.enabled is false, so nothing is audited.
{{- end }}
{{- end }}
{{- with .Values.recordings }}
{{- if .enabled }}

Recorded: what exec and attach print, to /recordings{{ with .existingClaim }}, on the claim {{ . }}{{ end }}. What cannot be recorded {{ ternary "is refused" "goes on without" (eq .failure "closed") }}.
{{- if not .existingClaim }}

WARNING: the recordings are in the pod, go with it, and have it evicted when they outgrow {{ .sizeLimit }}, which
whoever may exec can bring about. Set recordings.existingClaim to keep them.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* "true" where the proxy writes to a claim, which it may only with the group of the pod. An
       emptyDir is everybody's in the pod who mounts it. */ -}}
{{- define "headlamp-auth-proxy.writesToClaim" -}}
{{- $log := and .Values.audit.enabled (hasPrefix "/" .Values.audit.log.path) .Values.audit.log.existingClaim }}
{{- $recordings := and .Values.recordings.enabled .Values.recordings.existingClaim }}
{{- if or $log $recordings }}true{{ else }}false{{ end }}
{{- end }}
