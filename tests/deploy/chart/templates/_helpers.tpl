{{- define "headlamp.fullname" -}}{{ .Release.Name }}{{- end }}
{{- define "headlamp.namespace" -}}{{ .Release.Namespace }}{{- end }}
{{- define "headlamp.serviceAccountName" -}}
{{ default (include "headlamp.fullname" .) .Values.serviceAccount.name }}
{{- end }}
