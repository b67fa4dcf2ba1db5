{{- define "headlamp-auth-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "headlamp-auth-proxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "headlamp-auth-proxy.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Names of what is not in a namespace: two releases must not meet. */ -}}
{{- define "headlamp-auth-proxy.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "headlamp-auth-proxy.fullname" .) }}
{{- end }}

{{- define "headlamp-auth-proxy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "headlamp-auth-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "headlamp-auth-proxy.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "headlamp-auth-proxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The labels of the pods that hold the proxy. */ -}}
{{- define "headlamp-auth-proxy.podLabels" -}}
{{- if .Values.standalone.enabled }}
{{- include "headlamp-auth-proxy.selectorLabels" . }}
{{- else }}
{{- toYaml .Values.metrics.podLabels }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.serviceAccount" -}}
{{- if .Values.standalone.enabled }}
{{- default (include "headlamp-auth-proxy.fullname" .) .Values.standalone.serviceAccount.name }}
{{- else }}
{{- .Values.rbac.serviceAccount }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.image" -}}
{{- $name := printf "%s/%s" .Values.image.registry .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* The flags of `serve` that both ways to run share, a list as YAML. */ -}}
{{- define "headlamp-auth-proxy.flags" -}}
{{- if not .Values.oidc.existingSecret }}
- {{ printf "--oidc-issuer-url=%s" (required "oidc.issuerURL: give the issuer, or oidc.existingSecret" .Values.oidc.issuerURL) | quote }}
- {{ printf "--oidc-client-id=%s" (required "oidc.clientID: give the client, or oidc.existingSecret" .Values.oidc.clientID) | quote }}
{{- end }}
{{- with .Values.oidc.usernamePrefix }}
- {{ printf "--oidc-username-prefix=%s" . | quote }}
{{- end }}
{{- with .Values.oidc.groupsPrefix }}
- {{ printf "--oidc-groups-prefix=%s" . | quote }}
{{- end }}
{{- if ne .Values.authenticatedGroup "headlamp-auth-proxy:authenticated" }}
- {{ printf "--authenticated-group=%s" .Values.authenticatedGroup | quote }}
{{- end }}
{{- include "headlamp-auth-proxy.recordFlags" . }}
{{- range .Values.extraFlags }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- /* The environment of the proxy, likewise. Kubernetes puts POD_NAME in where a flag says so. */ -}}
{{- define "headlamp-auth-proxy.environment" -}}
{{- with .Values.oidc.existingSecret }}
{{- range list "OIDC_ISSUER_URL" "OIDC_CLIENT_ID" }}
- name: HEADLAMP_AUTH_PROXY_{{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.oidc.existingSecret | quote }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- if and .Values.audit.enabled (contains "$(POD_NAME)" .Values.audit.log.path) }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- end }}

{{- /* YAML's maps and lists as CEL literals, typed by their place in a pod: the argument is a list of
       that place and the value. */ -}}
{{- define "headlamp-auth-proxy.cel" -}}
{{- $place := index . 0 }}
{{- $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- $fields := list }}
{{- range $key, $inner := $value }}
{{- $fields = append $fields (printf "%s: %s" $key (include "headlamp-auth-proxy.cel" (list (printf "%s.%s" $place $key) $inner))) }}
{{- end }}
{{- printf "%s{%s}" $place (join ", " $fields) }}
{{- else if kindIs "slice" $value }}
{{- $items := list }}
{{- range $value }}
{{- $items = append $items (include "headlamp-auth-proxy.cel" (list $place .)) }}
{{- end }}
{{- printf "[%s]" (join ", " $items) }}
{{- else }}
{{- toRawJson $value }}
{{- end }}
{{- end }}
