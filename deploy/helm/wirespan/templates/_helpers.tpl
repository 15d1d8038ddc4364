{{- define "wirespan.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "wirespan.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "wirespan.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wirespan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wirespan.labels" -}}
{{ include "wirespan.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "wirespan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "wirespan.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "wirespan.priorityClassName" -}}
{{- if .Values.priorityClass.create }}
{{- default (include "wirespan.fullname" .) .Values.priorityClass.name }}
{{- else }}
{{- .Values.priorityClass.name }}
{{- end }}
{{- end }}

{{- define "wirespan.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* What each is for: SECURITY.md. */}}
{{- define "wirespan.capabilities" -}}
{{- $all := list "BPF" "PERFMON" "NET_ADMIN" "SYS_PTRACE" "DAC_READ_SEARCH" }}
{{- if .Values.capabilities.priority }}{{ $all = append $all "SYS_NICE" }}{{ end }}
{{- if .Values.capabilities.namespaces }}{{ $all = append $all "SYS_ADMIN" }}{{ end }}
{{- if semverCompare "<5.11.0" (printf "%s.0" .Values.kernel) }}{{ $all = append $all "SYS_RESOURCE" }}{{ end }}
{{- concat $all .Values.capabilities.extra | uniq | toYaml }}
{{- end }}

{{/* The port of config.otlp.endpoint; nothing if spans are sent nowhere. */}}
{{- define "wirespan.otlpPort" -}}
{{- $otlp := default dict .Values.config.otlp }}
{{- $endpoint := default "" $otlp.endpoint }}
{{- if $endpoint }}
{{- $url := urlParse (ternary $endpoint (printf "http://%s" $endpoint) (contains "://" $endpoint)) }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- default (ternary "443" "80" (eq $url.scheme "https")) $port }}
{{- end }}
{{- end }}
